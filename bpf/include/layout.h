/*
 * What kernel and user space share. meshtrio/intercept/layout.py reads and writes the same bytes;
 * a test compares sizes and offsets. Raise LAYOUT_VERSION on every change: an agent adopts the
 * pinned maps of its predecessor only if the version is its own.
 */
#pragma once

#define LAYOUT_VERSION 2
#define HEARTBEAT_STALE_NS 3000000000ULL
#define BEAT_OF_DOORS 0		/* slots of `heartbeat`: who serves the doors, */
#define BEAT_OF_RESOLVER 1	/* and who answers queries for names */

/* IPv4 is kept IPv4-mapped (RFC 4291, 2.5.5.2): one address, one code path. */
struct addr {
	__u8 ip[16];
	__be16 port;
};

/* One socket's end in one network namespace. */
struct place {
	__u64 netns;
	struct addr addr;
	__u8 pad[6];
};

/* A port in one network namespace, host order. */
struct port_key {
	__u64 netns;
	__u16 port;
	__u8 pad[6];
};

#define WORKLOAD_CLOSED 1u	/* on_agent_loss: closed */
#define WORKLOAD_CHECK_NETNS 2u	/* netns is a kernel cookie, so compare it */

/* What the agent tells the hooks about a workload; one per cgroup, in its cgroup storage. */
struct workload {
	__u64 netns;
	__u32 id;	/* 0: not configured yet */
	__u32 flags;
	__be16 door4;	/* outbound door on 127.0.0.1; 0: there is none */
	__be16 door6;	/* outbound door on ::1 */
	__be16 dns4;	/* our resolver on 127.0.0.1; 0: names are none of our business */
	__be16 dns6;	/* our resolver on ::1 */
};

/* What a redirected socket remembers; lives and dies with the socket. */
struct flow {
	__u64 netns;
	struct addr destination;
	__u8 pad[2];
	__u32 workload;
};

/* What the worker reads for an accepted connection, and our resolver for a query. */
struct origin {
	struct addr destination;
	__u8 pad[2];
	__u32 workload;
};

/* Who listens on a port. `sockets` 0 means nobody any more. */
struct listener {
	__u32 workload;
	__s32 sockets;
};

/* What a socket remembers of its bind. */
struct bound {
	struct port_key key;
};

/* What the sk_lookup program of one netns knows about itself. */
struct here {
	__u64 netns;
	__u32 flags;	/* WORKLOAD_CLOSED */
	__u32 pad;
};

/* Excluded destinations: longest prefix match over the 16 byte address. */
struct prefix {
	__u32 bits;
	__u8 ip[16];
};

#define EXCLUDED_OUTBOUND 1
#define EXCLUDED_INBOUND 2
