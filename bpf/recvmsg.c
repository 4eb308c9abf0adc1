/*
 * recvmsg4, recvmsg6: an answer of our resolver seems to come from the resolver that was asked, and one of
 * a service's member from the service. Who asked drops what comes from anybody else.
 *
 * A socket that asks several resolvers at once (musl) sees all answers come from the one that it
 * asked last: one of those that it asked, which is all that it checks.
 *
 * When we are wrong: what comes neither from our resolver nor from a member, or to a socket that remembers
 * nothing, is shown as it is.
 */
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct addr from = { .port = ctx->user_port }, service;

	map_v4(&from, ctx->user_ip4);
	if (!is_our_resolver(&from, this_workload())) {
		if (seen_as(ctx, &from, &service))
			show4(ctx, &service);
		return 1;
	}
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	if (flow && is_mapped(&flow->destination))
		show4(ctx, &flow->destination);
	return 1;
}

int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct addr from = { .port = ctx->user_port }, service;

	six(ctx, &from);
	if (!is_our_resolver(&from, this_workload())) {
		if (seen_as(ctx, &from, &service))
			show6(ctx, &service);
		return 1;
	}
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	if (flow)
		show6(ctx, &flow->destination);
	return 1;
}
