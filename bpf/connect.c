/*
 * connect4, connect6: a process of a workload dials, or ties a UDP socket to a resolver or a service.
 *
 * When we are wrong: see outbound.c and direct_udp.c. What is not ours passes untouched.
 */
static __always_inline enum reason dials(struct bpf_sock_addr *ctx, const struct addr *to,
					 const struct workload *w, struct ways ways, struct addr *member)
{
	int udp = is_udp(ctx), names = to->port == bpf_htons(DNS_PORT);
	enum reason why = LEFT_NOT_TCP, other;

	if (!udp || names)
		why = outbound(ctx, to, w, ways, member);
	if (!udp || why == RESOLVED_BY_US)
		return why;
	other = datagram_connects(ctx, to, w, member);
	if (other != LEFT_NOT_TCP)
		return other;
	if (!names)
		count(why);
	return why;
}

int connect4(struct bpf_sock_addr *ctx)
{
	struct workload *w = this_workload();
	struct ways ways = ways_v4(w);
	struct addr to = { .port = ctx->user_port }, member = {};

	map_v4(&to, ctx->user_ip4);
	enum reason why = dials(ctx, &to, w, ways, &member);
	__be16 door = ours(why, ways);
	if (is_direct(why)) {
		show4(ctx, &member);
	} else if (door) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = door;
	}
	return may_connect(why);
}

int connect6(struct bpf_sock_addr *ctx)
{
	struct workload *w = this_workload();
	struct addr to = { .port = ctx->user_port }, member = {};

	six(ctx, &to);
	int mapped = is_mapped(&to);
	struct ways ways = mapped ? ways_v4(w) : ways_v6(w);
	/* Else the verifier follows both families apart to the end. */
	mapped = unfollowed(ctx, &to, mapped);
	enum reason why = dials(ctx, &to, w, ways, &member);
	__be16 door = ours(why, ways);
	if (is_direct(why)) {
		show6(ctx, &member);
	} else if (door) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = mapped ? bpf_htonl(0xffff) : 0;
		ctx->user_ip6[3] = bpf_htonl(mapped ? 0x7f000001 : 1);
		ctx->user_port = door;
	}
	return may_connect(why);
}
