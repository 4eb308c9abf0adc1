/*
 * UDP services: connect and sendmsg pick a member of the service, getpeername and recvmsg show the
 * service again. A flow is what one socket says to one address of a service; it stays with its member
 * until that one has left. No program of its own.
 *
 * When we are wrong: a service of which nobody may be picked refuses (EPERM), for no worker carries
 * datagrams, and its address mostly leads nowhere. What cannot be remembered is carried all the same: its
 * flow may change members, and its answers seem to come from the member itself. What comes from anybody
 * else than a member is shown as it is.
 *
 * Two addresses of one socket that lead to one member cannot be told apart by its answers: they seem to
 * come from the one that was spoken to last.
 */
static __always_inline int is_udp(struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP;
}

static __always_inline int is_same(const struct addr *a, const struct addr *b)
{
	__u32 one[4], other[4];

	__builtin_memcpy(one, a->ip, 16);
	__builtin_memcpy(other, b->ip, 16);
	return a->port == b->port && one[3] == other[3] && one[2] == other[2] && one[1] == other[1] &&
	       one[0] == other[0];
}

/* What a UDP socket remembers that is connected to a service; NULL if it is not. */
static __always_inline struct flow *connected(struct bpf_sock_addr *ctx)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);

	/* After connect(AF_UNSPEC), which no hook sees, it has no peer any more. */
	return flow && flow->member.port && ctx->sk->dst_port ? flow : NULL;
}

/* Pick from the slots that hold. 0: they were replaced at this moment, or there are none. */
static __always_inline int udp_picked_once(const struct addr *to, const struct workload *w,
					   struct udp_flow *flow)
{
	struct slot_key key = { .service = *to };
	struct addr address = *to;
	struct service *service = udp_services.lookup(&address);
	struct slot *found;

	if (!service || !service->slots)
		return 0;
	__u32 slots = service->slots, algorithm = service->algorithm;
	__u32 slot = algorithm == PICK_TURNS  ? turn_of(service) :
		     algorithm == PICK_STICKY ? w->sticky :
						bpf_get_prandom_u32();
	key.generation = service->generation;
	key.slot = (__u16)(slot % slots);
	found = udp_slots.lookup(&key);
	if (!found)
		return 0;
	flow->member = found->member;
	flow->seat = found->seat;
	flow->generation = key.generation;
	return 1;
}

/* Who is counted at a seat; NULL: the one that had it serves no more. */
static __always_inline struct member *udp_seated(const struct seat *seat)
{
	__u32 index = seat->index;
	struct member *member = udp_members.lookup(&index);

	return member && member->holder == seat->holder ? member : NULL;
}

/* Begin a flow with a member; 0: there is none. */
static __always_inline int udp_begins(const struct udp_key *key, const struct workload *w,
				      struct udp_flow *flow)
{
	struct udp_key where = *key;
	struct member *member;

	if (!udp_picked_once(&key->addr, w, flow) && !udp_picked_once(&key->addr, w, flow))
		return 0;
	if (udp_flows.update(&where, flow))
		count(FULL_UDP_FLOWS);
	member = udp_seated(&flow->seat);
	if (member)
		__sync_fetch_and_add(&member->connections, 1);
	return 1;
}

/* Find the member of this socket's flow to a service whose slots are of this generation. */
static __always_inline int udp_member(struct bpf_sock_addr *ctx, const struct addr *to,
				      const struct workload *w, __u32 generation, struct addr *member)
{
	struct udp_key key = { .cookie = bpf_get_socket_cookie(ctx), .addr = *to };
	struct udp_flow *flow = udp_flows.lookup(&key), fresh = {};
	struct addr *source, service = *to;

	/* Of an older generation are flows that were there before the members changed: who serves still? */
	if (flow && (flow->generation == generation || udp_seated(&flow->seat)))
		*member = flow->member;
	else if (udp_begins(&key, w, &fresh))
		*member = fresh.member;
	else
		return 0;
	key.addr = *member;
	source = udp_sources.lookup(&key);
	if ((!source || !is_same(source, to)) && udp_sources.update(&key, &service))
		count(FULL_UDP_FLOWS);
	return 1;
}

/*
 * Decide where a datagram, or a connect, to an address goes. UDP_DIRECT: to `member`. Not counted is only
 * what no UDP service has (LEFT_NOT_TCP).
 */
static __always_inline enum reason datagram(struct bpf_sock_addr *ctx, const struct addr *to,
					    const struct workload *w, struct addr *member)
{
	struct addr address = *to;
	struct service *service = udp_services.lookup(&address);
	struct flow *flow;
	__u32 facts = 0;

	if (!service || !is_udp(ctx))
		return LEFT_NOT_TCP;
	if (w && w->id)
		facts |= FACT_CONFIG;
	if (is_our_mark(ctx->sk->mark))
		facts |= FACT_OURS;
	if (is_excluded(to))
		facts |= FACT_EXCLUDED;
	if (service->slots)
		facts |= FACT_DIRECT;
	enum reason why = decide_datagram(facts);
	if (w && why == UDP_DIRECT) {
		flow = connected(ctx);
		/* It hears that member alone. */
		if (flow && is_same(&flow->destination, to))
			*member = flow->member;
		else if (!udp_member(ctx, to, w, service->generation, member))
			why = REFUSED_NO_MEMBER;
	}
	count(why);
	return why;
}

/* As `datagram`, for a connect: what the socket is connected to is remembered as long as it lives. */
static __always_inline enum reason datagram_connects(struct bpf_sock_addr *ctx, const struct addr *to,
						     const struct workload *w, struct addr *member)
{
	struct flow *flow = flows.sk_storage_get(ctx->sk, 0, 0);
	enum reason why;

	if (flow)
		flow->member.port = 0;
	why = datagram(ctx, to, w, member);
	if (!w || why != UDP_DIRECT)
		return why;
	flow = flows.sk_storage_get(ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!flow) {
		count(FULL_FLOWS);
		return why;
	}
	flow->netns = w->netns;
	flow->destination = *to;
	flow->member = *member;
	flow->workload = w->id;
	return why;
}

/* Find as whom a UDP socket should see one that it hears, or is connected to. 0: as who it is. */
static __always_inline int seen_as(struct bpf_sock_addr *ctx, const struct addr *from, struct addr *service)
{
	struct udp_key key = {};
	struct flow *flow;
	struct addr *source;

	if (!is_udp(ctx))
		return 0;
	flow = connected(ctx);
	if (flow && is_same(&flow->member, from)) {
		*service = flow->destination;
		return 1;
	}
	key.cookie = bpf_get_socket_cookie(ctx);
	key.addr = *from;
	source = udp_sources.lookup(&key);
	if (!source)
		return 0;
	*service = *source;
	return 1;
}
