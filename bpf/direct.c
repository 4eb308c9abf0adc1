/*
 * Direct services: the connect hook picks a member of the service itself, and the process connects
 * straight to it. Who the members are is the agent's word, and outlives the agent.
 *
 * When we are wrong: a pick that finds no member is not direct, and the connection goes to the worker,
 * who knows more. What cannot be counted is carried all the same.
 */

/* How many connections a member has; one that nobody counts is taken for idle. */
static __always_inline __s64 active_of(const struct addr *service, const struct addr *member)
{
	struct member_key key = { .service = *service, .member = *member };
	struct member *found = direct_members.lookup(&key);

	return found ? found->active : 0;
}

/* Pick from slots. 0: they were replaced at this moment. */
static __always_inline int picked_once(const struct addr *to, const struct service *service,
				       const struct workload *w, struct addr *member)
{
	struct slot_key key = { .service = *to };
	struct addr address = *to;
	struct addr *first, *second;
	__u64 *turn;

	if (!service->slots)
		return 0;
	__u32 slots = service->slots, algorithm = service->algorithm;
	__u32 slot = algorithm == PICK_STICKY ? w->sticky : bpf_get_prandom_u32();
	key.generation = service->generation;
	if (algorithm == PICK_TURNS) {
		turn = direct_turns.lookup(&address);
		if (!turn)
			return 0;
		/* Before 5.12 an atomic addition does not say what it found. Two processors at the same moment may
		 * take the same turn and leave out the next; the count itself stays right. */
		__sync_fetch_and_add(turn, 1);
		slot = (__u32)(*(volatile __u64 *)turn - 1);
	}
	key.slot = (__u16)(slot % slots);
	first = direct_slots.lookup(&key);
	if (!first)
		return 0;
	if (algorithm == PICK_LEAST && slots > 1) {
		key.slot = (__u16)((key.slot + 1 + bpf_get_prandom_u32() % (slots - 1)) % slots);
		second = direct_slots.lookup(&key);
		if (second && active_of(to, second) < active_of(to, first))
			first = second;
	}
	*member = *first;
	return 1;
}

/* Pick; once more if the slots were replaced meanwhile. */
static __always_inline int picked(const struct addr *to, const struct service *service, const struct workload *w,
				  struct addr *member)
{
	struct addr address = *to;
	struct service *now;

	if (picked_once(to, service, w, member))
		return 1;
	now = services.lookup(&address);
	if (!now)
		return 0;
	struct service later = *now;
	return picked_once(to, &later, w, member);
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

/* A socket is about to connect to a member. */
static __always_inline void follow(struct bpf_sock_addr *ctx, const struct addr *to, const struct workload *w,
				   const struct addr *member)
{
	struct followed followed = { .live = { .destination = *to,
					       .member = *member,
					       .workload = w->id,
					       .netns = w->netns } };
	__u64 cookie = bpf_get_socket_cookie(ctx);

	/* The socket may have been redirected before (a second connect). */
	flows.sk_storage_delete(ctx->sk);
	if (direct_live.update(&cookie, &followed))
		count(FULL_LIVE);
}

/* A socket is about to connect elsewhere, perhaps after a connect to a member that failed before it began. */
static __always_inline void unfollow(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	if (direct_live.lookup(&cookie))
		direct_live.delete(&cookie);
}

static __always_inline void direct_begins(struct bpf_sock_ops *ctx, struct followed *followed,
					  struct member *member)
{
	__u32 flags = FLOW_BEGUN;

	source_of(ctx, &followed->live.source);
	followed->live.began = bpf_ktime_get_ns();
	if (member) {
		__sync_fetch_and_add(&member->connections, 1);
		__sync_fetch_and_add(&member->active, 1);
		flags |= FLOW_ACTIVE;
	}
	followed->flags = flags;
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

/*
 * The kernel counts SYN and FIN as bytes: ours once it is acknowledged, and the other side's when it
 * came. In FIN_WAIT2 it has come if the process still listened; if it had let go, what came after that
 * moment can only be the FIN, for data would have been answered by a reset.
 */
static __always_inline void payload(struct bpf_sock_ops *ctx, const struct followed *followed, __u32 state,
				    struct ended *ended)
{
	__u64 sent = ctx->bytes_acked, received = ctx->bytes_received;
	int let_go = followed->released;

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
	ended->sent = sent;
	ended->received = received;
}

/* Whether the member may be at fault: it was not reached, or let go before it said anything. */
static __always_inline int has_failed(const struct ended *ended)
{
	return ended->state == BPF_TCP_SYN_SENT || !(ended->received || ended->flags & FLOW_RELEASED);
}

static __always_inline void direct_ends(struct bpf_sock_ops *ctx, __u64 cookie, struct followed *followed,
					struct member *member, __u32 state)
{
	struct ended ended = {};
	__u32 flags = followed->flags;

	payload(ctx, followed, state, &ended);
	ended.was = followed->live;
	ended.flags = (followed->released ? FLOW_RELEASED : 0) | (ctx->total_retrans ? FLOW_RETRANSMITTED : 0);
	/* From here on the entry may be another connection's. */
	direct_live.delete(&cookie);
	/* The member may be a later one than that which counted the begin. */
	if (member && flags & FLOW_ACTIVE) {
		__sync_fetch_and_add(&member->active, -1);
		__sync_fetch_and_add(&member->sent, ended.sent);
		__sync_fetch_and_add(&member->received, ended.received);
		if (state == BPF_TCP_SYN_SENT)
			__sync_fetch_and_add(&member->failed, 1);
	}
	ended.cookie = cookie;
	ended.at = bpf_ktime_get_ns();
	ended.state = state;
	/* The agent looks often enough by itself; a failure is told at once, for the next may be one too. */
	if (direct_ended.ringbuf_output(&ended, sizeof(ended), has_failed(&ended) ? BPF_RB_FORCE_WAKEUP
										  : BPF_RB_NO_WAKEUP))
		count(FULL_ENDED);
}

/* Follow a direct connection: at its begin, when it stands, and at its end, each once. */
static __always_inline void direct_changes(struct bpf_sock_ops *ctx)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	struct followed *followed = direct_live.lookup(&cookie);
	struct member_key key;
	struct member *member;

	/* Not direct; or the agent has said already how it ended, for our hooks were gone for a while. */
	if (!followed)
		return;
	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_FIN_WAIT2) {
		followed->fin_wait2 = ctx->bytes_received;
		return;
	}
	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && !(followed->flags & FLOW_BEGUN))
		return;
	key.service = followed->live.destination;
	key.member = followed->live.member;
	member = direct_members.lookup(&key);
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		direct_begins(ctx, followed, member);
	else if (ctx->op == BPF_SOCK_OPS_STATE_CB)
		direct_ends(ctx, cookie, followed, member, ctx->args[0]);
	else if (member && followed->flags & FLOW_ACTIVE)
		__sync_fetch_and_add(&member->established, 1);
}
