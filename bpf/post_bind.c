/*
 * post_bind4, post_bind6, sock_release: which ports a workload listens on, and who lets go first.
 *
 * A bound TCP socket counts, whether it listens yet or not: a connection to a port that is bound
 * and not listening is refused by the worker as the kernel would have. Entries stay with count 0
 * rather than being deleted here, because a delete could race with another bind on another CPU
 * and lose a port, which would let connections in uncaught.
 *
 * When we are wrong: a port that cannot be noted is not caught; where the workload is closed the
 * bind is refused instead.
 */
static __always_inline int note_port(struct bpf_sock *ctx)
{
	struct workload *w = (struct workload *)(uintptr_t)workloads.get_local_storage(0);
	struct listener fresh = {};
	struct listener *listener;
	struct bound *bound;
	struct port_key key = {};

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !w || !w->id)
		return 1;
	key.netns = w->netns;
	key.port = ctx->src_port;
	fresh.workload = w->id;
	ports.insert(&key, &fresh);
	listener = ports.lookup(&key);
	bound = bindings.sk_storage_get(ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!listener || !bound) {
		count(FULL_PORTS);
		return !(w->flags & WORKLOAD_CLOSED);
	}
	listener->workload = w->id;
	bound->key = key;
	__sync_fetch_and_add(&listener->sockets, 1);
	return 1;
}

int post_bind4(struct bpf_sock *ctx)
{
	return note_port(ctx);
}

int post_bind6(struct bpf_sock *ctx)
{
	return note_port(ctx);
}

/* So that a reset can be told from a process that aborts. A connect that never began leaves nothing behind. */
static __always_inline void direct_released(struct bpf_sock *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct followed *followed = followed_of(cookie);

	if (!followed)
		return;
	if (followed->flags & FLOW_BEGUN)
		followed->released = 1;
	else
		forget(cookie);
}

int sock_release(struct bpf_sock *ctx)
{
	struct bound *bound = bindings.sk_storage_get(ctx, 0, 0);
	struct listener *listener;
	struct port_key key;

	if (ctx->protocol == IPPROTO_TCP)
		direct_released(ctx);
	if (!bound)
		return 1;
	key = bound->key;
	listener = ports.lookup(&key);
	if (listener)
		__sync_fetch_and_add(&listener->sockets, -1);
	/* Socket storage cannot be deleted from this hook; the kernel frees it with the socket. */
	return 1;
}
