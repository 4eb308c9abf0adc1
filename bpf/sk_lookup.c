/*
 * sk_lookup: a connection comes in for a port on which a workload of this netns listens.
 *
 * The inbound door gets it with the local address kept, without conntrack or NAT. The worker's own
 * dial to the app is known exactly, by its source (our_dials), and not by coming over lo: two
 * workloads of one netns that talk over loopback are caught at both ends. Who has been granted to call
 * without us is known by its source and what it called (grants.c).
 *
 * When we are wrong: no entry for the port means that it passes. No door, or nobody who serves it:
 * the failure policy of the netns decides.
 */
int inbound(struct bpf_sk_lookup *ctx)
{
	__u32 zero = 0, family = ctx->family == AF_INET6;
	struct here *self = here.lookup(&zero);
	struct port_key port = {};
	struct passage passage = {};
	struct place peer = {};
	struct listener *listener;
	struct bpf_sock *door;
	__u32 facts = 0;
	__u32 words[4];
	long refused;

	if (ctx->protocol != IPPROTO_TCP || !self)
		return SK_PASS;
	port.netns = self->netns;
	port.port = ctx->local_port;
	listener = ports.lookup(&port);
	if (!listener || listener->sockets <= 0)
		return SK_PASS;
	peer.netns = self->netns;
	peer.addr.port = (__be16)ctx->remote_port;
	if (family) {
		words[0] = WORD(ctx->remote_ip6[0]);
		words[1] = WORD(ctx->remote_ip6[1]);
		words[2] = WORD(ctx->remote_ip6[2]);
		words[3] = WORD(ctx->remote_ip6[3]);
		__builtin_memcpy(peer.addr.ip, words, 16);
		words[0] = WORD(ctx->local_ip6[0]);
		words[1] = WORD(ctx->local_ip6[1]);
		words[2] = WORD(ctx->local_ip6[2]);
		words[3] = WORD(ctx->local_ip6[3]);
		__builtin_memcpy(passage.member.ip, words, 16);
	} else {
		map_v4(&peer.addr, ctx->remote_ip4);
		map_v4(&passage.member, ctx->local_ip4);
	}
	passage.netns = self->netns;
	passage.source = peer.addr;
	passage.member.port = bpf_htons(port.port);
	facts = FACT_LISTENED;
	/* First, for such a connection pays for nothing else of ours. */
	if (arrives(&passage, listener->workload))
		facts |= FACT_GRANTED;
	else if (our_dials.lookup(&peer))
		facts |= FACT_OUR_DIAL;
	/* After that: whoever was granted to come when it was not excluded has arrived all the same. */
	if (port_excluded(EXCLUDED_INBOUND, port.port))
		return SK_PASS;
	if (beating(BEAT_OF_DOORS))
		facts |= FACT_ALIVE;
	if (self->flags & WORKLOAD_CLOSED)
		facts |= FACT_STRICT;

	enum reason why = decide_inbound(facts);
	if (why == CAUGHT) {
		door = (struct bpf_sock *)inbound_doors.lookup(&family);
		refused = -1;
		if (door) {
			refused = bpf_sk_assign(ctx, door, 0);
			bpf_sk_release(door);
		}
		if (refused)
			why = decide_inbound(facts & ~FACT_ALIVE);
	}
	count(why);
	return why == DROPPED_AGENT_LOST ? SK_DROP : SK_PASS;
}
