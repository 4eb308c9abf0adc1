/*
 * Grants: a workload goes to another one of its node itself, past both doors, because the agent says that it may
 * call it. A guarded service is a direct one whose members are such workloads. Who has no grant is relayed.
 *
 * A connection that was granted is noted before its SYN leaves, and sk_lookup in the namespace of the member
 * lets it pass, and marks it, if it comes there from that source to that workload. When it stands it must have
 * been marked: else its address is somebody else's by now, or was translated on the way. Then nothing that its
 * process sends leaves, and the agent ends it.
 *
 * When we are wrong: what is not known for certain is relayed, or else stopped.
 */

/* Whether a workload may go to the members of a service itself, as its slots are now. Without anybody who serves
 * the doors it may not: then its own policy decides, as for all that would be relayed. */
static __always_inline int is_granted(const struct service *service, const struct addr *to, const struct workload *w)
{
	struct grantee grantee = { .service = *to, .workload = w->id };
	struct grant *grant;

	if (!(service->algorithm & PICK_GUARDED))
		return 1;
	grant = grants.lookup(&grantee);
	return grant && grant->generation == service->generation && bpf_ktime_get_ns() < grant->until &&
	       beating(BEAT_OF_DOORS);
}

static __always_inline struct passage passage_of(const struct followed *followed)
{
	return (struct passage){ .netns = followed->there,
				 .source = followed->live.source,
				 .member = followed->live.member };
}

/* A connection that was granted is about to send its SYN. */
static __always_inline void sets_out(__u64 cookie, const struct followed *followed)
{
	struct passenger passenger = { .cookie = cookie, .called = followed->live.called };
	struct passage passage = passage_of(followed);

	if (passages.update(&passage, &passenger))
		count(FULL_PASSAGES);
}

/* Whether it has come to whom it was meant for. */
static __always_inline int has_arrived(__u64 cookie, const struct followed *followed)
{
	struct passage passage = passage_of(followed);
	struct passenger *passenger = passages.lookup(&passage);

	return passenger && passenger->cookie == cookie && passenger->arrived;
}

/* It has ended. Not before: the last ACK of its handshake is looked up again where SYN cookies are in use. */
static __always_inline void has_passed(const struct followed *followed)
{
	struct passage passage = passage_of(followed);

	passages.delete(&passage);
}

/* A connection comes to a workload; say whether it was granted to come without us. */
static __always_inline int arrives(struct passage *passage, __u32 workload)
{
	struct passenger *passenger = passages.lookup(passage);

	if (!passenger || passenger->called != workload)
		return 0;
	passenger->arrived = 1;
	return 1;
}

/*
 * Let nothing leave of a connection that stands and has not arrived. Bound to loopback it finds no way out of its
 * namespace, not even for the last word of the handshake. Within the namespace it is sk_msg that keeps it silent,
 * which Multipath TCP and a send that has waited for the handshake pass by; but there a handshake waits for nothing.
 */
static __always_inline void silence(struct bpf_sock_ops *ctx, __u64 cookie)
{
	char loopback[] = "lo";

	strays.sock_hash_update(ctx, &cookie, BPF_ANY);
	bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, loopback, sizeof(loopback));
	count(STOPPED_ASTRAY);
}

/* sk_msg of `strays`. */
int stop(struct sk_msg_md *msg)
{
	return SK_DROP;
}
