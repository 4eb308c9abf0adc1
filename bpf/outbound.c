/*
 * What connect and sendmsg have in common: the facts of a destination, the decision, and what the
 * socket keeps of it. No program of its own.
 *
 * When we are wrong: a socket that is neither TCP nor a query for names, or whose workload the agent
 * has not described yet, passes untouched; we would rather carry no one's traffic than the wrong
 * one's. A connection that should be caught and cannot be follows its workload's failure policy; a
 * query for names goes to the resolver that it was meant for.
 */
static __always_inline struct workload *this_workload(void)
{
	return (struct workload *)(uintptr_t)workloads.get_local_storage(0);
}

/* Where a workload's sockets of one family are sent. */
struct ways {
	__be16 door;
	__be16 dns;
};

static __always_inline struct ways ways_v4(const struct workload *w)
{
	struct ways none = {}, v4 = { .door = w ? w->door4 : 0, .dns = w ? w->dns4 : 0 };
	return w ? v4 : none;
}

static __always_inline struct ways ways_v6(const struct workload *w)
{
	struct ways none = {}, v6 = { .door = w ? w->door6 : 0, .dns = w ? w->dns6 : 0 };
	return w ? v6 : none;
}

/* Whether a socket can be sent to a port of this netns's loopback at all. */
static __always_inline int may_reach(struct bpf_sock_addr *ctx, const struct workload *w, __be16 door)
{
	if (!door || ctx->sk->bound_dev_if)
		return 0;
	return !(w->flags & WORKLOAD_CHECK_NETNS) || bpf_get_netns_cookie(ctx) == w->netns;
}

/* Whether the configuration says to leave a destination alone. */
static __always_inline int is_excluded(const struct addr *to)
{
	struct prefix network = { .bits = 128 };
	__u32 zero = 0, *any = excluding.lookup(&zero);

	if (!any || !*any)
		return 0;
	__builtin_memcpy(network.ip, to->ip, 16);
	return port_excluded(EXCLUDED_OUTBOUND, bpf_ntohs(to->port)) || excluded_networks.lookup(&network);
}

/*
 * Give a number of at most 16 bits as it is, but such that the verifier does not know it any more. It would
 * follow each combination of facts to the end of the program: 214,000 instructions of connect6, and 0.7 s of
 * CPU at each start for all hooks (measured), where 24,000 say the same. It knows nothing of what it reads
 * from the context, which is this call's own; the port is put back at once.
 */
static __always_inline __u32 unfollowed(struct bpf_sock_addr *ctx, const struct addr *to, __u32 number)
{
	ctx->user_port = number;
	number = WORD(ctx->user_port);
	ctx->user_port = to->port;
	return number;
}

/* What matters of a destination; `service` becomes what the map knows of it. */
static __always_inline __u32 outbound_facts(struct bpf_sock_addr *ctx, const struct addr *to,
					    const struct workload *w, struct ways ways,
					    struct service **service)
{
	int udp = ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP;
	struct addr address = *to;
	struct service *known;
	__u32 facts = 0;

	if (ctx->type == SOCK_STREAM && ctx->protocol == IPPROTO_TCP)
		facts |= FACT_TCP;
	if (!w || !w->id)
		return facts;
	facts |= FACT_CONFIG;
	if (to->port == bpf_htons(DNS_PORT) && (w->dns4 || w->dns6) && (udp || facts & FACT_TCP))
		facts |= FACT_DNS;
	if (!(facts & (FACT_TCP | FACT_DNS)))
		return facts;
	if (is_our_mark(ctx->sk->mark))
		facts |= FACT_OURS;
	if (is_local(to)) {
		facts |= FACT_LOCAL;
		if (to->port == w->door4 || to->port == w->door6)
			facts |= FACT_DOOR_ITSELF;
	}
	facts = unfollowed(ctx, to, facts);
	if (is_excluded(to))
		facts |= FACT_EXCLUDED;
	known = services.lookup(&address);
	if (known) {
		*service = known;
		facts |= FACT_SERVICE;
		if (known->slots && !(w->flags & WORKLOAD_RELAYED) && is_granted(known, to, w))
			facts |= FACT_DIRECT;
	}
	/* A link-local resolver cannot be asked without its zone, which nobody would tell ours. */
	if (facts & FACT_DNS && !is_link_local(to) && beating(BEAT_OF_RESOLVER) && may_reach(ctx, w, ways.dns))
		facts |= FACT_RESOLVING;
	return facts;
}

/* Whether we could carry it. Nothing that is decided before DIRECT, nor that itself, needs to know. */
static __always_inline __u32 carrying_facts(struct bpf_sock_addr *ctx, const struct workload *w, struct ways ways)
{
	__u32 facts = 0;

	if (!w)
		return facts;
	if (!may_reach(ctx, w, ways.door))
		facts |= FACT_CANNOT_CATCH;
	if (beating(BEAT_OF_DOORS))
		facts |= FACT_BEATING;
	if (w->flags & WORKLOAD_CLOSED)
		facts |= FACT_CLOSED;
	return facts;
}

/* Let our resolver know whom this socket means to ask. */
static __always_inline void note_asked(struct bpf_sock_addr *ctx, const struct addr *to,
				       const struct workload *w)
{
	struct origin origin = { .destination = *to, .workload = w->id };
	__u64 cookie = bpf_get_socket_cookie(ctx);
	__u32 id = w->id;

	if (asked.update(&cookie, &origin) || last_asked.update(&id, &origin))
		count(FULL_ASKED);
}

static __always_inline enum reason decided(struct bpf_sock_addr *ctx, const struct addr *to, __u32 facts)
{
	return unfollowed(ctx, to, decide_outbound(unfollowed(ctx, to, facts)));
}

/*
 * Decide, count, and keep what the socket dialled if it is to go to a door of ours, or direct. Then
 * `member` is where to; NULL: whoever asks does not connect.
 */
static __always_inline enum reason outbound(struct bpf_sock_addr *ctx, const struct addr *to,
					    const struct workload *w, struct ways ways, struct addr *member)
{
	struct service *service = NULL;
	struct slot slot = {};
	__u32 facts = outbound_facts(ctx, to, w, ways, &service);

	if (!(facts & FACT_DIRECT))
		facts |= carrying_facts(ctx, w, ways);
	enum reason why = decided(ctx, to, facts);
	/* Nothing is redirected without a workload, but the verifier cannot know. */
	if (w && why == DIRECT && (!member || !service || !goes_to_member(ctx, to, service, w, &slot))) {
		count(MISSED_MEMBER);
		facts &= ~FACT_DIRECT;
		why = decided(ctx, to, facts | carrying_facts(ctx, w, ways));
	}
	if (w && why == DIRECT && member) {
		*member = slot.member;
	} else if (w && (why == REDIRECTED || why == RESOLVED_BY_US)) {
		if (ctx->type == SOCK_STREAM)
			unfollow(ctx);
		struct flow *flow = flows.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (flow) {
			flow->netns = w->netns;
			flow->destination = *to;
			flow->workload = w->id;
			flow->member.port = 0;
			if (ctx->type == SOCK_DGRAM)
				note_asked(ctx, to, w);
		} else {
			count(FULL_FLOWS);
			why = ctx->type == SOCK_DGRAM	 ? OPEN_NO_RESOLVER :
			      w->flags & WORKLOAD_CLOSED ? REFUSED_CANNOT_CATCH :
							   OPEN_CANNOT_CATCH;
		}
	} else if (why != LEFT_NOT_TCP && ctx->type == SOCK_STREAM) {
		/* The socket may have been redirected before (a second connect). A UDP socket may still
		 * wait for what it asked before, and keeps it. */
		flows.sk_storage_delete(ctx->sk);
		unfollow(ctx);
	}
	count(why);
	return why;
}

/* The port of ours to which the socket goes, 0 if it goes where it wanted. */
static __always_inline __be16 ours(enum reason why, struct ways ways)
{
	return why == REDIRECTED ? ways.door : why == RESOLVED_BY_US ? ways.dns : 0;
}

static __always_inline void six(struct bpf_sock_addr *ctx, struct addr *to)
{
	__u32 words[4] = { WORD(ctx->user_ip6[0]), WORD(ctx->user_ip6[1]), WORD(ctx->user_ip6[2]),
			   WORD(ctx->user_ip6[3]) };

	__builtin_memcpy(to->ip, words, 16);
}

static __always_inline void show6(struct bpf_sock_addr *ctx, const struct addr *a)
{
	__u32 words[4];

	__builtin_memcpy(words, a->ip, 16);
	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = a->port;
}

static __always_inline void show4(struct bpf_sock_addr *ctx, const struct addr *a)
{
	__u32 ip4;

	__builtin_memcpy(&ip4, &a->ip[12], 4);
	ctx->user_ip4 = ip4;
	ctx->user_port = a->port;
}

/* Whether an address that the kernel shows to a socket is our resolver's. */
static __always_inline int is_our_resolver(const struct addr *a, const struct workload *w)
{
	__u32 words[4];

	if (!w || !a->port)
		return 0;
	__builtin_memcpy(words, a->ip, 16);
	if (words[0] || words[1])
		return 0;
	if (!words[2])
		return words[3] == bpf_htonl(1) && a->port == w->dns6;
	return words[2] == bpf_htonl(0xffff) && words[3] == bpf_htonl(0x7f000001) && a->port == w->dns4;
}
