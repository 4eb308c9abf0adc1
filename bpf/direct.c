/*
 * Direct services: the connect hook picks a member of the service itself, and the process connects
 * straight to it. Who the members are is the agent's word, and outlives the agent.
 *
 * When we are wrong: a pick that finds no member is not direct, and the connection goes to the worker,
 * who knows more. What cannot be counted is carried all the same.
 */

/* Who is counted at a seat; NULL: the one that had it is not counted any more, and never will be. So whatever
 * begin is not counted (its member left after the pick), its end is not either. */
static __always_inline struct member *seated(const struct seat *seat)
{
	__u32 index = seat->index;
	struct member *member = direct_members.lookup(&index);

	return member && member->holder == seat->holder ? member : NULL;
}

/* How many connections a member has; one that nobody counts is taken for idle. */
static __always_inline __s64 active_of(const struct slot *slot)
{
	struct member *found = seated(&slot->seat);

	return found ? found->active : 0;
}

/* Take the next turn. */
static __always_inline __u32 turn_of(struct service *service)
{
	/* Before 5.12 an atomic addition does not say what it found. Two processors at the same moment may
	 * take the same turn and leave out the next; the count itself stays right. */
	__sync_fetch_and_add(&service->turn, 1);
	return (__u32)(*(volatile __u64 *)&service->turn - 1);
}

/* Pick from slots; `service` is what the map has. 0: they were replaced at this moment. */
static __always_inline int picked_once(const struct addr *to, struct service *service, const struct workload *w,
				       struct slot *picked)
{
	struct slot_key key = { .service = *to, .generation = service->generation };
	__u32 slots = service->slots, algorithm = service->algorithm & ~PICK_GUARDED, slot;
	struct slot *first, *second;

	if (!slots)
		return 0;
	slot = algorithm == PICK_TURNS	? turn_of(service) :
	       algorithm == PICK_STICKY ? w->sticky :
					  bpf_get_prandom_u32();
	key.slot = (__u16)(slot % slots);
	first = direct_slots.lookup(&key);
	if (!first)
		return 0;
	if (algorithm == PICK_LEAST && slots > 1) {
		key.slot = (__u16)((key.slot + 1 + bpf_get_prandom_u32() % (slots - 1)) % slots);
		second = direct_slots.lookup(&key);
		if (second && active_of(second) < active_of(first))
			first = second;
	}
	*picked = *first;
	return 1;
}

/* Pick; once more if the slots were replaced meanwhile. Not from slots that are guarded: only the first ones may have
 * been granted. */
static __always_inline int picked(const struct addr *to, struct service *service, const struct workload *w,
				  struct slot *slot)
{
	struct addr address = *to;

	if (picked_once(to, service, w, slot))
		return 1;
	service = services.lookup(&address);
	return service && !(service->algorithm & PICK_GUARDED) && picked_once(to, service, w, slot);
}

static __always_inline void source_of(struct bpf_sock_ops *ctx, struct addr *source)
{
	__u32 words[4];

	source->port = bpf_htons((__u16)ctx->local_port);
	if (ctx->family == AF_INET) {
		map_v4(source, ctx->local_ip4);
		return;
	}
	words[0] = WORD(ctx->local_ip6[0]);
	words[1] = WORD(ctx->local_ip6[1]);
	words[2] = WORD(ctx->local_ip6[2]);
	words[3] = WORD(ctx->local_ip6[3]);
	__builtin_memcpy(source->ip, words, 16);
}

/* A socket is about to connect to a member. 0: that cannot be remembered. */
static __always_inline int follow(struct bpf_sock_addr *ctx, const struct addr *to, const struct workload *w,
				  const struct slot *slot)
{
	struct followed followed = { .live = { .destination = *to,
					       .member = slot->member,
					       .workload = w->id,
					       .called = slot->called,
					       .netns = w->netns },
				     .there = slot->netns,
				     .seat = slot->seat };
	__u64 cookie = bpf_get_socket_cookie(ctx);

	/* The socket may have been redirected before (a second connect). */
	if (flows.sk_storage_get(ctx->sk, 0, 0))
		flows.sk_storage_delete(ctx->sk);
	if (keep(cookie, &followed))
		return 1;
	count(FULL_LIVE);
	return 0;
}

/* Pick, and remember it. 0: it must go through the worker. What was granted must be remembered, or nobody where it
 * comes to would know whose it is; all else is carried all the same. */
static __always_inline int goes_to_member(struct bpf_sock_addr *ctx, const struct addr *to, struct service *service,
					  const struct workload *w, struct slot *slot)
{
	return picked(to, service, w, slot) && (follow(ctx, to, w, slot) || !slot->called);
}

/* A socket is about to connect elsewhere, perhaps after a connect to a member that failed before it began. */
static __always_inline void unfollow(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	if (followed_of(cookie))
		forget(cookie);
}

static __always_inline void direct_begins(struct bpf_sock_ops *ctx, __u64 cookie, struct followed *followed,
					  struct member *member)
{
	/* At once, for the seat may be taken back at any moment. */
	if (member) {
		__sync_fetch_and_add(&member->connections, 1);
		__sync_fetch_and_add(&member->active, 1);
	}
	source_of(ctx, &followed->live.source);
	followed->live.began = bpf_ktime_get_ns();
	followed->flags = FLOW_BEGUN;
	if (followed->live.called)
		sets_out(cookie, followed);
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* What a connection has carried. */
struct payload {
	__u64 sent;
	__u64 received;
};

/*
 * The kernel counts SYN and FIN as bytes: ours once it is acknowledged, and the other side's when it
 * came. In FIN_WAIT2 it has come if the process still listened; if it had let go, what came after that
 * moment can only be the FIN, for data would have been answered by a reset.
 */
static __always_inline struct payload payload(struct bpf_sock_ops *ctx, const struct followed *followed, __u32 state,
					      int let_go)
{
	__u64 sent = ctx->bytes_acked, received = ctx->bytes_received;

	if (sent)
		sent--;
	if (sent && (state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING ||
		     state == BPF_TCP_TIME_WAIT))
		sent--;
	if (state == BPF_TCP_FIN_WAIT2 && let_go)
		received = followed->fin_wait2;
	else if (received && (state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_CLOSE_WAIT ||
			      state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING || state == BPF_TCP_TIME_WAIT))
		received--;
	return (struct payload){ .sent = sent, .received = received };
}

/* The agent looks often enough by itself; of a failure it is told at once, for the next may be one too. The member
 * may be at fault if it was not reached, or let go before it said anything. */
static __always_inline __u64 waking(__u32 state, int let_go, __u64 received)
{
	return state == BPF_TCP_SYN_SENT || !(received || let_go) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Forget a connection that has ended, and add up what it has carried. */
static __always_inline void settle(__u64 cookie, struct member *member, struct payload carried, __u32 state)
{
	/* From here on the entry may be another connection's. */
	forget(cookie);
	if (!member)
		return;
	__sync_fetch_and_add(&member->active, -1);
	__sync_fetch_and_add(&member->sent, carried.sent);
	__sync_fetch_and_add(&member->received, carried.received);
	if (state == BPF_TCP_SYN_SENT)
		__sync_fetch_and_add(&member->failed, 1);
}

static __always_inline void direct_ends(struct bpf_sock_ops *ctx, __u64 cookie, struct followed *followed,
					struct member *member, __u32 state, __u32 flags)
{
	int let_go = followed->released;
	struct payload carried = payload(ctx, followed, state, let_go);
	struct ended *ended = direct_ended.ringbuf_reserve(sizeof(*ended));

	if (followed->live.called)
		has_passed(followed);
	/* Asked once: to the verifier of 5.10 what was reserved could be NULL the next time. */
	if (!ended) {
		settle(cookie, member, carried, state);
		count(FULL_ENDED);
		return;
	}
	ended->was = followed->live;
	ended->cookie = cookie;
	ended->at = bpf_ktime_get_ns();
	ended->sent = carried.sent;
	ended->received = carried.received;
	ended->state = state;
	ended->flags = flags | (let_go ? FLOW_RELEASED : 0) | (ctx->total_retrans ? FLOW_RETRANSMITTED : 0);
	/* Before the agent is told, who may look at once. */
	settle(cookie, member, carried, state);
	direct_ended.ringbuf_submit(ended, waking(state, let_go, carried.received));
}

/* Follow a direct connection: at its begin, when it stands, and at its end, each once. */
static __always_inline void direct_changes(struct bpf_sock_ops *ctx, __u64 cookie, struct followed *followed)
{
	__u32 state = ctx->args[0], flags = 0;
	struct member *member;

	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_FIN_WAIT2) {
		followed->fin_wait2 = ctx->bytes_received;
		return;
	}
	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && !(followed->flags & FLOW_BEGUN))
		return;
	member = seated(&followed->seat);
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		direct_begins(ctx, cookie, followed, member);
		return;
	}
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) {
		if (!followed->live.called || has_arrived(cookie, followed)) {
			if (member)
				__sync_fetch_and_add(&member->established, 1);
			return;
		}
		silence(ctx, cookie);
		/* To the books it never stood. */
		state = BPF_TCP_SYN_SENT;
		flags = FLOW_ASTRAY;
	}
	direct_ends(ctx, cookie, followed, member, state, flags);
}
