/*
 * getpeername4, getpeername6: the process sees what it dialled, not our door, and
 * not the member of a service.
 *
 * When we are wrong: where nothing is remembered the kernel's own answer stands. So it does for a UDP
 * socket that is connected neither to our resolver nor to the member that it remembers: what it remembers
 * is then of a query that it sent beside that.
 */
static __always_inline int is_what_it_dialled(struct bpf_sock_addr *ctx, const struct flow *flow,
					      const struct addr *peer)
{
	if (ctx->type == SOCK_STREAM)
		return 1;
	return flow->member.port ? is_same(&flow->member, peer) : is_our_resolver(peer, this_workload());
}

/* What a direct connection dialled, NULL if it is none. */
static __always_inline struct addr *dialled_directly(struct bpf_sock_addr *ctx)
{
	struct followed *followed;
	__u64 cookie;

	if (ctx->type != SOCK_STREAM)
		return NULL;
	cookie = bpf_get_socket_cookie(ctx);
	followed = followed_of(cookie);
	return followed ? &followed->live.destination : NULL;
}

int getpeername4(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	struct addr *direct = flow ? NULL : dialled_directly(ctx);
	struct addr peer = { .port = ctx->user_port };

	if (direct && is_mapped(direct))
		show4(ctx, direct);
	if (!flow || !is_mapped(&flow->destination))
		return 1;
	map_v4(&peer, ctx->user_ip4);
	if (is_what_it_dialled(ctx, flow, &peer))
		show4(ctx, &flow->destination);
	return 1;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	struct addr *direct = flow ? NULL : dialled_directly(ctx);
	struct addr peer = { .port = ctx->user_port };

	if (direct)
		show6(ctx, direct);
	if (!flow)
		return 1;
	six(ctx, &peer);
	if (is_what_it_dialled(ctx, flow, &peer))
		show6(ctx, &flow->destination);
	return 1;
}
