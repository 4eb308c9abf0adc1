/*
 * sendmsg4, sendmsg6: a UDP socket that is not connected sends to somebody: a query for names to our
 * resolver, any other datagram to a service to a member of it.
 *
 * What goes to nobody of these passes after a look into udp_services, uncounted. When we are wrong a query
 * goes to the resolver that it was meant for. It is lost where the process ties it to an interface by a
 * control message, which no hook can see. Of other datagrams: see direct_udp.c.
 *
 * The kernel sends what an IPv6 socket has for an IPv4-mapped address through sendmsg4, also when
 * the socket is connected: then the address is our resolver's already, which is not port 53, or a
 * member's, or that of a real resolver, to which the socket was connected while we did not catch.
 */

/* A connected socket hears its peer alone; the answer of anybody else would be lost. */
static __always_inline int may_hear(struct bpf_sock_addr *ctx, struct ways ways)
{
	__be16 peer = ctx->sk->dst_port;

	return !peer || peer == ways.dns;
}

static __always_inline enum reason sends(struct bpf_sock_addr *ctx, const struct addr *to,
					 const struct workload *w, struct ways ways, struct addr *member)
{
	if (to->port == bpf_htons(DNS_PORT) && may_hear(ctx, ways) &&
	    outbound(ctx, to, w, ways, NULL) == RESOLVED_BY_US)
		return RESOLVED_BY_US;
	return datagram(ctx, to, w, member);
}

int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct addr to = { .port = ctx->user_port }, member = {};
	struct workload *w = this_workload();
	struct ways ways = ways_v4(w);

	map_v4(&to, ctx->user_ip4);
	enum reason why = sends(ctx, &to, w, ways, &member);
	if (why == UDP_DIRECT) {
		show4(ctx, &member);
	} else if (why == RESOLVED_BY_US) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = ways.dns;
	}
	return may_connect(why);
}

int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct addr to = { .port = ctx->user_port }, member = {};
	struct workload *w = this_workload();
	struct ways ways = ways_v6(w);

	six(ctx, &to);
	enum reason why = sends(ctx, &to, w, ways, &member);
	if (why == UDP_DIRECT) {
		show6(ctx, &member);
	} else if (why == RESOLVED_BY_US) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = bpf_htonl(1);
		ctx->user_port = ways.dns;
	}
	return may_connect(why);
}
