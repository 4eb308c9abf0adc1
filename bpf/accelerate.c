/*
 * sk_msg: give what one socket sends to the socket at the other end of the same connection, past TCP.
 * A text of its own, for the self-test (meshtrio/accelerate/trial.py); nothing else loads it.
 *
 * When we are wrong: whatever is not known for certain goes by TCP (SK_PASS), as if we were not here. A
 * message is never dropped. What goes to TCP once goes to TCP for ever, in this direction: redirected
 * bytes would overtake those that wait in the receive queue, whereas the kernel's reader takes redirected
 * bytes before queued ones, so that FAST to TCP keeps the order and TCP to FAST does not.
 */
#include <uapi/linux/bpf.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/* The context lets no two words be read as one, which the compiler would do. */
#define WORD(field) (*(volatile __u32 *)&(field))

#define AF_INET_HERE 2
#define ENDS 1024	/* of the sockets of one trial; what does not fit stays with TCP */

/* Addresses are IPv6 or IPv4-mapped; ports in host order. */
struct end {
	__u8 ip[16];
	__u32 port;
};

struct line {
	struct end here;
	struct end there;
};

/* One direction of a connection, by the sender's ends. trial.py reads the same bytes. */
struct lane {
	__u64 fast_bytes;
	__u64 tcp_bytes;
	__u64 credit_bytes;	/* what may still be redirected: redirecting knows no back-pressure */
	__u32 latched;		/* 1: TCP, for ever */
	__u32 pad;
};

#define TUNING_CREDIT_BYTES 0
#define TUNING_ONLY_CALLERS 1	/* 1: who accepts is not enrolled, so the first message misses */

BPF_SOCKHASH(ends, struct line, ENDS);
BPF_HASH(lanes, struct line, struct lane, ENDS);
BPF_ARRAY(tuning, __u64, 2);

static __always_inline void mapped(struct end *end, __u32 ip)
{
	end->ip[10] = 0xff;
	end->ip[11] = 0xff;
	__builtin_memcpy(end->ip + 12, &ip, sizeof(ip));
}

/* Only at ESTABLISHED: before it there is nobody to redirect to, and after it bytes may be under way. */
int enrol(struct bpf_sock_ops *ctx)
{
	int called = ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
	int credit_at = TUNING_CREDIT_BYTES, only_callers_at = TUNING_ONLY_CALLERS;
	struct line line = {};
	struct lane lane = {};
	__u64 *credit, *only_callers;

	if (!called && ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return 1;
	if (ctx->family == AF_INET_HERE) {
		mapped(&line.here, ctx->local_ip4);
		mapped(&line.there, ctx->remote_ip4);
	} else {
		__u32 *here = (__u32 *)line.here.ip, *there = (__u32 *)line.there.ip;

		here[0] = WORD(ctx->local_ip6[0]), here[1] = WORD(ctx->local_ip6[1]);
		here[2] = WORD(ctx->local_ip6[2]), here[3] = WORD(ctx->local_ip6[3]);
		there[0] = WORD(ctx->remote_ip6[0]), there[1] = WORD(ctx->remote_ip6[1]);
		there[2] = WORD(ctx->remote_ip6[2]), there[3] = WORD(ctx->remote_ip6[3]);
	}
	line.here.port = ctx->local_port;
	line.there.port = bpf_ntohl(ctx->remote_port);
	credit = tuning.lookup(&credit_at);
	only_callers = tuning.lookup(&only_callers_at);
	if (!credit || !only_callers)
		return 1;
	lane.credit_bytes = *credit;
	lanes.update(&line, &lane);
	if (!called || !*only_callers)
		ends.sock_hash_update(ctx, &line, BPF_NOEXIST);
	return 1;
}

int on_message(struct sk_msg_md *msg)
{
	struct line line = {}, back = {};
	struct lane *lane;
	__u32 size = msg->size;

	if (msg->family == AF_INET_HERE) {
		mapped(&line.here, msg->local_ip4);
		mapped(&line.there, msg->remote_ip4);
	} else {
		__u32 *here = (__u32 *)line.here.ip, *there = (__u32 *)line.there.ip;

		here[0] = WORD(msg->local_ip6[0]), here[1] = WORD(msg->local_ip6[1]);
		here[2] = WORD(msg->local_ip6[2]), here[3] = WORD(msg->local_ip6[3]);
		there[0] = WORD(msg->remote_ip6[0]), there[1] = WORD(msg->remote_ip6[1]);
		there[2] = WORD(msg->remote_ip6[2]), there[3] = WORD(msg->remote_ip6[3]);
	}
	line.here.port = msg->local_port;
	line.there.port = bpf_ntohl(msg->remote_port);
	back.here = line.there;
	back.there = line.here;
	lane = lanes.lookup(&line);
	if (!lane)
		return SK_PASS;
	if (lane->latched || lane->credit_bytes < size ||
	    ends.msg_redirect_hash(msg, &back, BPF_F_INGRESS) != SK_PASS) {
		lane->latched = 1;
		lane->tcp_bytes += size;
		return SK_PASS;
	}
	lane->credit_bytes -= size;
	lane->fast_bytes += size;
	return SK_PASS;
}
