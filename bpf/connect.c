/*
 * connect4, connect6: a process of a workload dials.
 *
 * When we are wrong: a socket that is not TCP, or whose workload the agent has not described yet,
 * passes untouched; we would rather carry no one's traffic than the wrong one's. A socket that
 * should be caught and cannot be follows its workload's failure policy.
 */
static __always_inline struct workload *this_workload(void)
{
	return (struct workload *)(uintptr_t)workloads.get_local_storage(0);
}

static __always_inline __u32 outbound_facts(struct bpf_sock_addr *ctx, const struct addr *to,
					    const struct workload *w, __be16 door)
{
	struct prefix network = { .bits = 128 };
	struct addr service = *to;
	__u32 facts = 0;

	if (ctx->type == SOCK_STREAM && ctx->protocol == IPPROTO_TCP)
		facts |= FACT_TCP;
	if (!w || !w->id)
		return facts;
	facts |= FACT_CONFIG;
	if (is_our_mark(ctx->sk->mark))
		facts |= FACT_OURS;
	if (is_local(to)) {
		facts |= FACT_LOCAL;
		if (to->port == w->door4 || to->port == w->door6)
			facts |= FACT_DOOR_ITSELF;
	}
	__builtin_memcpy(network.ip, to->ip, 16);
	if (port_excluded(EXCLUDED_OUTBOUND, bpf_ntohs(to->port)) || excluded_networks.lookup(&network))
		facts |= FACT_EXCLUDED;
	if (services.lookup(&service))
		facts |= FACT_SERVICE;
	if (!door || ctx->sk->bound_dev_if)
		facts |= FACT_CANNOT_CATCH;
	if ((w->flags & WORKLOAD_CHECK_NETNS) && bpf_get_netns_cookie(ctx) != w->netns)
		facts |= FACT_CANNOT_CATCH;
	if (beating())
		facts |= FACT_BEATING;
	if (w->flags & WORKLOAD_CLOSED)
		facts |= FACT_CLOSED;
	return facts;
}

/* Decide, count, and keep what the socket dialled if it is to go to the door. */
static __always_inline enum reason outbound(struct bpf_sock_addr *ctx, const struct addr *to,
					    const struct workload *w, __be16 door)
{
	enum reason why = decide_outbound(outbound_facts(ctx, to, w, door));

	if (why == REDIRECTED) {
		struct flow *flow = flows.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (flow) {
			flow->netns = w->netns;
			flow->destination = *to;
			flow->workload = w->id;
		} else {
			count(FULL_FLOWS);
			why = w->flags & WORKLOAD_CLOSED ? REFUSED_CANNOT_CATCH : OPEN_CANNOT_CATCH;
		}
	} else if (why != LEFT_NOT_TCP) {
		/* The socket may have been redirected before (a second connect). */
		flows.sk_storage_delete(ctx->sk);
	}
	count(why);
	return why;
}

int connect4(struct bpf_sock_addr *ctx)
{
	struct workload *w = this_workload();
	__be16 door = w ? w->door4 : 0;
	struct addr to = { .port = ctx->user_port };

	map_v4(&to, ctx->user_ip4);
	enum reason why = outbound(ctx, &to, w, door);
	if (why == REDIRECTED) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = door;
	}
	return may_connect(why);
}

int connect6(struct bpf_sock_addr *ctx)
{
	struct workload *w = this_workload();
	struct addr to = { .port = ctx->user_port };
	__u32 words[4] = { WORD(ctx->user_ip6[0]), WORD(ctx->user_ip6[1]), WORD(ctx->user_ip6[2]),
			   WORD(ctx->user_ip6[3]) };

	__builtin_memcpy(to.ip, words, 16);
	int mapped = is_mapped(&to);
	__be16 door = !w ? 0 : mapped ? w->door4 : w->door6;
	enum reason why = outbound(ctx, &to, w, door);
	if (why == REDIRECTED) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = mapped ? bpf_htonl(0xffff) : 0;
		ctx->user_ip6[3] = bpf_htonl(mapped ? 0x7f000001 : 1);
		ctx->user_port = door;
	}
	return may_connect(why);
}
