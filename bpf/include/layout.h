/*
 * What kernel and user space share. meshtrio/intercept/layout.py reads and writes the same bytes;
 * a test compares sizes and offsets. Raise LAYOUT_VERSION on every change: an agent adopts the
 * pinned maps of its predecessor only if the version is its own.
 */
#pragma once

#define LAYOUT_VERSION 12
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
	__be16 door;	/* in `destinations`: to which port of ours; two doors may be dialled from one port */
	__u8 pad[4];
};

/* A connection that one worker has dialled and another accepts: where it comes from, and to what. */
struct voucher {
	struct place source;
	struct addr to;
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
#define WORKLOAD_RELAYED 4u	/* acceleration: off, so no service is direct by TCP */

/* What the agent tells the hooks about a workload; one per cgroup, in its cgroup storage. */
struct workload {
	__u64 netns;
	__u32 id;	/* 0: not configured yet */
	__u32 flags;
	__be16 door4;	/* outbound door on 127.0.0.1; 0: there is none */
	__be16 door6;	/* outbound door on ::1 */
	__be16 dns4;	/* our resolver on 127.0.0.1; 0: names are none of our business */
	__be16 dns6;	/* our resolver on ::1 */
	__u32 sticky;	/* by which a direct service recognises this caller */
	__u32 pad;
};

#define FLOW_BEGUN 1u		/* a direct connection whose end is still to be counted */
#define FLOW_RELEASED 2u	/* its process has let go of it */
#define FLOW_RETRANSMITTED 4u	/* something had to be sent twice; only in `struct ended` */
#define FLOW_ASTRAY 8u		/* it did not arrive at the workload that was meant; only in `struct ended` */

/* What a socket remembers that we sent elsewhere; lives and dies with the socket. For direct connections: followed. */
struct flow {
	__u64 netns;
	struct addr destination;
	struct addr member;	/* UDP; port 0: it is not connected to a service */
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

/* How a direct service picks. */
#define PICK_TURNS 0u	/* one slot after the other */
#define PICK_LUCK 1u	/* any slot */
#define PICK_LEAST 2u	/* of two slots by luck that whose member has fewer connections */
#define PICK_STICKY 3u	/* the caller's own slot */
#define PICK_GUARDED 256u	/* beside one of these: its members are workloads, and `grants` says who may call */

/* What is known of a service's address. Replaced as a whole, so nobody sees half of a change. */
struct service {
	__u32 generation;	/* which of its slots hold */
	__u16 slots;		/* 0: connections go through the worker */
	__u16 algorithm;	/* one PICK_..., perhaps with PICK_GUARDED */
	__u64 turn;		/* how many connections were given in turns: whose turn it is */
};

/* Where a member is counted. */
struct seat {
	__u32 index;	/* in direct_members */
	__u32 holder;	/* as there, or somebody else is counted there by now */
};

/* One place in the order of a direct service. */
struct slot_key {
	struct addr service;
	__u16 slot;
	__u32 generation;
};

/* Who has it. */
struct slot {
	struct addr member;
	__u8 pad[2];
	struct seat seat;
	__u32 called;	/* of a guarded service: which workload serves there, */
	__u64 netns;	/* and in which namespace */
};

/* Who may go to the members of a guarded service itself. */
struct grantee {
	struct addr service;
	__u8 pad[2];
	__u32 workload;
};

/* For how long. */
struct grant {
	__u64 until;		/* CLOCK_MONOTONIC, ns: one of both certificates ends */
	__u32 generation;	/* of the slots of which it was said */
	__u32 pad;
};

/* A connection to a member of a guarded service, as the namespace of the member sees it come. */
struct passage {
	__u64 netns;
	struct addr source;
	struct addr member;
	__u8 pad[4];
};

/* Whom it is meant for. */
struct passenger {
	__u64 cookie;	/* of the calling socket */
	__u32 called;
	__u32 arrived;	/* it has come into that namespace, and that workload listens there */
};

/* An endpoint in its role for one address of a direct service. */
struct member_key {
	struct addr service;
	struct addr member;
};

/* What it has carried. */
struct member {
	__u32 holder;	/* how many were counted here before */
	__u32 pad;
	__u64 connections;
	__u64 established;	/* of these, those that came to stand */
	__u64 failed;		/* and those that never did, and have ended */
	__s64 active;
	__u64 sent;
	__u64 received;
};

/* A direct connection that lives. */
struct live {
	struct addr source;
	struct addr destination;
	struct addr member;
	__u8 pad[2];
	__u32 workload;
	__u32 called;	/* which workload it is meant for, if its service is guarded; else 0 */
	__u64 netns;
	__u64 began;	/* CLOCK_MONOTONIC, ns */
};

/* What the hooks know of one. */
struct followed {
	struct live live;
	__u64 fin_wait2;	/* bytes received when our FIN was acknowledged */
	__u64 there;		/* the namespace of the workload that it is meant for */
	struct seat seat;	/* its member's */
	__u32 flags;		/* FLOW_BEGUN */
	__u32 released;		/* its process has let go of it; a word of its own: written without the socket's lock */
};

#define BERTHS 4096u

/* That of one which found its place among the berths free. */
struct berth {
	__u32 claims;	/* 1: somebody has it */
	__u32 pad;
	__u64 cookie;	/* the socket's that has it; 0: nobody's */
	struct followed followed;
};

/* One that has ended. */
struct ended {
	struct live was;
	__u64 cookie;
	__u64 at;	/* CLOCK_MONOTONIC, ns */
	__u64 sent;
	__u64 received;
	__u32 state;	/* in which TCP state it was (BPF_TCP_...) */
	__u32 flags;	/* FLOW_RELEASED, FLOW_RETRANSMITTED, FLOW_ASTRAY */
};

/* What one socket says to one address of a UDP service, or hears from one member of it. */
struct udp_key {
	__u64 cookie;	/* the socket's */
	struct addr addr;
	__u8 pad[6];
};

/* Where it says it. */
struct udp_flow {
	struct addr member;
	__u8 pad[2];
	struct seat seat;	/* the member's */
	__u32 generation;	/* which slots held when it was picked */
};

/* Excluded destinations: longest prefix match over the 16 byte address. */
struct prefix {
	__u32 bits;
	__u8 ip[16];
};

#define EXCLUDED_OUTBOUND 1
#define EXCLUDED_INBOUND 2
