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

static __always_inline void describe(struct bpf_sock_ops *ctx, const struct flow *flow, struct live *live)
{
	source_of(ctx, &live->source);
	live->destination = flow->destination;
	live->member = flow->member;
	live->workload = flow->workload;
	live->netns = flow->netns;
	live->began = flow->began;
}

static __always_inline void direct_begins(struct bpf_sock_ops *ctx, struct flow *flow, struct member *member)
{
	struct live live = {};
	__u64 cookie = bpf_get_socket_cookie(ctx);

	flow->began = bpf_ktime_get_ns();
	describe(ctx, flow, &live);
	if (direct_live.update(&cookie, &live))
		count(FULL_LIVE);
	else
		flow->flags |= FLOW_LISTED;
	if (member) {
		__sync_fetch_and_add(&member->connections, 1);
		__sync_fetch_and_add(&member->active, 1);
		flow->flags |= FLOW_ACTIVE;
	}
	flow->flags |= FLOW_BEGUN;
	bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

/*
 * The kernel counts SYN and FIN as bytes: ours once it is acknowledged, and the other side's when it
 * came. In FIN_WAIT2 it has come if the process still listened; if it had let go, what came after that
 * moment can only be the FIN, for data would have been answered by a reset.
 */
static __always_inline void payload(struct bpf_sock_ops *ctx, const struct flow *flow, __u32 state,
				    struct ended *ended)
{
	__u64 sent = ctx->bytes_acked, received = ctx->bytes_received;
	int let_go = flow->flags & FLOW_RELEASED;

	if (sent)
		sent--;
	if (sent && (state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING ||
		     state == BPF_TCP_TIME_WAIT))
		sent--;
	if (state == BPF_TCP_FIN_WAIT2 && let_go)
		received = flow->fin_wait2;
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

static __always_inline void direct_ends(struct bpf_sock_ops *ctx, struct flow *flow, struct member *member,
					__u32 state)
{
	struct ended ended = {};
	__u64 cookie = bpf_get_socket_cookie(ctx);
	__u32 flags = flow->flags;

	flow->flags &= ~(FLOW_BEGUN | FLOW_ACTIVE | FLOW_LISTED);
	/* The agent has said already how it ended, and counts it no more: our hooks were gone for a while. */
	if (flags & FLOW_LISTED && direct_live.delete(&cookie))
		return;
	payload(ctx, flow, state, &ended);
	/* The entry may be a later one than that which counted the begin. */
	if (member && flags & FLOW_ACTIVE) {
		__sync_fetch_and_add(&member->active, -1);
		__sync_fetch_and_add(&member->sent, ended.sent);
		__sync_fetch_and_add(&member->received, ended.received);
		if (state == BPF_TCP_SYN_SENT)
			__sync_fetch_and_add(&member->failed, 1);
	}
	describe(ctx, flow, &ended.was);
	ended.cookie = cookie;
	ended.at = bpf_ktime_get_ns();
	ended.state = state;
	ended.flags = (flags & FLOW_RELEASED) | (ctx->total_retrans ? FLOW_RETRANSMITTED : 0);
	/* The agent looks often enough by itself; a failure is told at once, for the next may be one too. */
	if (direct_ended.ringbuf_output(&ended, sizeof(ended), has_failed(&ended) ? BPF_RB_FORCE_WAKEUP
										  : BPF_RB_NO_WAKEUP))
		count(FULL_ENDED);
}

static __always_inline struct member *member_of(const struct flow *flow)
{
	struct member_key key = { .service = flow->destination, .member = flow->member };

	return direct_members.lookup(&key);
}

/* Follow a direct connection: at its begin, when it stands, and at its end, each once. */
static __always_inline void direct_changes(struct bpf_sock_ops *ctx, struct flow *flow)
{
	struct member *member;

	if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_FIN_WAIT2) {
		flow->fin_wait2 = ctx->bytes_received;
		return;
	}
	if (ctx->op == BPF_SOCK_OPS_STATE_CB && !(flow->flags & FLOW_BEGUN))
		return;
	member = member_of(flow);
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		direct_begins(ctx, flow, member);
	else if (ctx->op == BPF_SOCK_OPS_STATE_CB)
		direct_ends(ctx, flow, member, ctx->args[0]);
	else if (member && flow->flags & FLOW_ACTIVE)
		__sync_fetch_and_add(&member->established, 1);
}
