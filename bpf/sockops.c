/*
 * sockops: tell the worker (or our resolver) what a redirected connection dialled, before its SYN
 * leaves.
 *
 * The source port is chosen by then, so the worker finds the entry however fast it accepts. A
 * connect that fails takes its entry back. A connection that was established leaves it to the
 * worker: a process may send and close before the worker has accepted, and must not lose that.
 *
 * When we are wrong: without a remembered flow the socket is not ours and nothing happens.
 */
static __always_inline void source_of(struct bpf_sock_ops *ctx, __u64 netns, struct place *place)
{
	__u32 words[4];

	place->netns = netns;
	place->addr.port = bpf_htons((__u16)ctx->local_port);
	if (ctx->family == AF_INET) {
		map_v4(&place->addr, ctx->local_ip4);
		return;
	}
	words[0] = WORD(ctx->local_ip6[0]);
	words[1] = WORD(ctx->local_ip6[1]);
	words[2] = WORD(ctx->local_ip6[2]);
	words[3] = WORD(ctx->local_ip6[3]);
	__builtin_memcpy(place->addr.ip, words, 16);
}

int sockops(struct bpf_sock_ops *ctx)
{
	int connecting = ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB;
	int failed = ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[0] == BPF_TCP_SYN_SENT &&
		     ctx->args[1] == BPF_TCP_CLOSE;
	struct place place = {};
	struct bpf_sock *sk;
	struct flow *flow;

	if (!connecting && !failed)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	flow = flows.sk_storage_get(sk, 0, 0);
	if (!flow)
		return 1;
	source_of(ctx, flow->netns, &place);
	if (failed) {
		destinations.delete(&place);
		return 1;
	}
	struct origin origin = { .destination = flow->destination, .workload = flow->workload };
	if (destinations.update(&place, &origin))
		count(FULL_DESTINATIONS);
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
	return 1;
}
