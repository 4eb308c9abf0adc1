/*
 * sockops: tell the worker (or our resolver) what a redirected connection dialled, before its SYN
 * leaves.
 *
 * The source port is chosen by then, so the worker finds the entry however fast it accepts. A
 * connect that fails takes its entry back. A connection that was established leaves it to the
 * worker: a process may send and close before the worker has accepted, and must not lose that. Direct
 * connections are followed to their end, which is counted once.
 *
 * When we are wrong: a socket of which neither a flow nor a direct connection is remembered is not ours, and
 * nothing happens.
 */
int sockops(struct bpf_sock_ops *ctx)
{
	int connecting = ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB;
	int stands = ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	int changed = ctx->op == BPF_SOCK_OPS_STATE_CB;
	int failed = changed && ctx->args[0] == BPF_TCP_SYN_SENT && ctx->args[1] == BPF_TCP_CLOSE;
	struct followed *direct;
	struct bpf_sock *sk;
	struct flow *flow;
	__u64 cookie;

	/* Of the changes of a state two matter (direct.c); for the others a connection should not pay. */
	if (!connecting && !stands &&
	    !(changed && (ctx->args[1] == BPF_TCP_CLOSE || ctx->args[1] == BPF_TCP_FIN_WAIT2)))
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	/* First, for it costs least. No socket has both, for each connect takes back what the last one left. */
	cookie = bpf_get_socket_cookie(ctx);
	direct = followed_of(cookie);
	if (direct) {
		direct_changes(ctx, cookie, direct);
		return 1;
	}
	if (!connecting && !failed)
		return 1;
	flow = flows.sk_storage_get(sk, 0, 0);
	if (!flow)
		return 1;
	struct place place = { .netns = flow->netns,
			       .door = bpf_htons((__u16)bpf_ntohl(ctx->remote_port)) };
	source_of(ctx, &place.addr);
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
