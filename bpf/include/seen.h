/* Small questions that several hooks ask. */
#pragma once

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define DNS_PORT 53
#define SOL_SOCKET 1
#define SO_BINDTODEVICE 25
/* Those of meshtrio/intercept/marks.py; the lowest byte is the user's. */
#define MARK_MASK 0xffffff00u
#define MARK_OUTBOUND_DIAL 0x4d540100u
#define MARK_APP_DIAL 0x4d540200u

/* One word of the context. The verifier allows only loads of four bytes there, and without
 * volatile the compiler makes one of eight out of two. */
#define WORD(field) (*(volatile __u32 *)&(field))

static __always_inline void map_v4(struct addr *to, __u32 ip4)
{
	__builtin_memset(to->ip, 0, 10);
	to->ip[10] = to->ip[11] = 0xff;
	__builtin_memcpy(&to->ip[12], &ip4, 4);
}

static __always_inline int is_mapped(const struct addr *a)
{
	__u32 words[3];
	__builtin_memcpy(words, a->ip, 12);
	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

static __always_inline int is_link_local(const struct addr *a)
{
	return a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

/* Loopback, unspecified (the kernel takes it for loopback) and link-local, which needs a zone. */
static __always_inline int is_local(const struct addr *a)
{
	__u32 words[4];
	__builtin_memcpy(words, a->ip, 16);
	if (is_mapped(a))
		return a->ip[12] == 127 || !words[3];
	if (is_link_local(a))
		return 1;
	return !words[0] && !words[1] && !words[2] && (!words[3] || words[3] == bpf_htonl(1));
}

static __always_inline int is_our_mark(__u32 mark)
{
	mark &= MARK_MASK;
	return mark == MARK_OUTBOUND_DIAL || mark == MARK_APP_DIAL;
}

static __always_inline void count(enum reason why)
{
	__u32 slot = why;
	__u64 *counter = reasons.lookup(&slot);
	if (counter)
		(*counter)++;
}

static __always_inline int beating(__u32 whose)
{
	__u64 *at = heartbeat.lookup(&whose);
	/* A beat from another CPU may be a little ahead of our clock reading: signed. */
	return at && (__s64)(bpf_ktime_get_ns() - *at) < (__s64)HEARTBEAT_STALE_NS;
}

static __always_inline int port_excluded(__u32 direction, __u16 port)
{
	__u32 key = direction << 16 | port;
	return excluded_ports.lookup(&key) != NULL;
}
