/*
 * getpeername4, getpeername6: the process sees what it dialled, not our door.
 *
 * When we are wrong: without a remembered flow the kernel's own answer stands. So it does for a UDP
 * socket that is connected to somebody else than our resolver: what it remembers is then of a query
 * that it sent beside that.
 */
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	struct addr peer = { .port = ctx->user_port };

	if (!flow || !is_mapped(&flow->destination))
		return 1;
	map_v4(&peer, ctx->user_ip4);
	if (ctx->type == SOCK_STREAM || is_our_resolver(&peer, this_workload()))
		show4(ctx, &flow->destination);
	return 1;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	struct addr peer = { .port = ctx->user_port };

	if (!flow)
		return 1;
	six(ctx, &peer);
	if (ctx->type == SOCK_STREAM || is_our_resolver(&peer, this_workload()))
		show6(ctx, &flow->destination);
	return 1;
}
