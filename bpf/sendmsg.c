/*
 * sendmsg4, sendmsg6: a UDP socket that is not connected sends to somebody.
 *
 * Datagrams to any port but 53 pass after one comparison, uncounted. When we are wrong a query goes to
 * the resolver that it was meant for. It is lost where the process ties it to an interface by a
 * control message, which no hook can see.
 *
 * The kernel sends what an IPv6 socket has for an IPv4-mapped address through sendmsg4, also when
 * the socket is connected: then the address is our resolver's already, which is not port 53, or that
 * of a real one, to which the socket was connected while we did not catch.
 */

/* A connected socket hears its peer alone; the answer of anybody else would be lost. */
static __always_inline int may_hear(struct bpf_sock_addr *ctx, struct ways ways)
{
	__be16 peer = ctx->sk->dst_port;

	return !peer || peer == ways.dns;
}

int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct addr to = { .port = ctx->user_port };

	if (to.port != bpf_htons(DNS_PORT))
		return 1;
	struct workload *w = this_workload();
	struct ways ways = ways_v4(w);
	map_v4(&to, ctx->user_ip4);
	if (may_hear(ctx, ways) && outbound(ctx, &to, w, ways, NULL) == RESOLVED_BY_US) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = ways.dns;
	}
	return 1;
}

int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct addr to = { .port = ctx->user_port };

	if (to.port != bpf_htons(DNS_PORT))
		return 1;
	struct workload *w = this_workload();
	struct ways ways = ways_v6(w);
	six(ctx, &to);
	if (may_hear(ctx, ways) && outbound(ctx, &to, w, ways, NULL) == RESOLVED_BY_US) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = bpf_htonl(1);
		ctx->user_port = ways.dns;
	}
	return 1;
}
