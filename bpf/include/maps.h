/*
 * Every map, its bound, and what full means. Created by meshtrio/intercept/program.py from this
 * declaration, so the sizes stand here only.
 */
#pragma once
#include "layout.h"
#include "reasons.h"

/* The workload's configuration, by the cgroup that the program is attached to (not by the
 * process's own cgroup, which may be a child of it). Bound: one per cgroup. */
BPF_CGROUP_STORAGE(workloads, struct workload);

/* What a redirected socket dialled, and a UDP socket that is connected to a service. Freed by the kernel with
 * the socket, so it cannot leak.
 * Full: the socket's option memory; counted as FULL_FLOWS, then the failure policy decides. */
BPF_SK_STORAGE(flows, struct flow);

/* What a bound socket of a workload counts in `ports`. Freed with the socket. */
BPF_SK_STORAGE(bindings, struct bound);

/* Source and door of a redirected connection -> what it dialled. The worker takes the entry out when it
 * accepts. LRU, so that entries of connections that nobody accepted (a killed worker) are the ones
 * that go; if one that is wanted goes, the worker refuses that connection (no_destination). */
BPF_TABLE("lru_hash", struct place, struct origin, destinations, 131072);

/* Ports on which workloads listen. Before it is full the agent takes out those that nobody has any
 * more. Full: the port is not caught, or where the workload is closed the bind is refused; counted
 * as FULL_PORTS. */
BPF_F_TABLE("hash", struct port_key, struct listener, ports, 65536, 1 /* BPF_F_NO_PREALLOC */);

/* Sources of the worker's own dials to apps, there while they connect -> the worker's process id, by
 * which the agent takes out what a killed worker left. Full: the worker refuses the connection, it
 * never lets one loop. */
BPF_F_TABLE("hash", struct place, __u64, our_dials, 65536, 1 /* BPF_F_NO_PREALLOC */);

/* Connections between workloads of this node for whose callers a worker vouches, by workload (mtls.same_node). For
 * workers alone, also those of two agents, of which one follows the other. LRU: a note is taken within
 * milliseconds; whose went is anonymous. */
BPF_TABLE("lru_hash", struct voucher, __u32, vouchers, 8192);

/* Addresses of services: VIPs and endpoints. Needed for destinations on loopback, for all others are
 * caught anyway, and for what is direct. Full: the agent says so; services beyond the bound are not caught
 * on loopback, and are relayed. */
BPF_F_TABLE("hash", struct addr, struct service, services, 262144, 1 /* BPF_F_NO_PREALLOC */);

/* The members of direct services in the order in which they are picked, weights included. A new
 * generation is written beside the old one. Full: the agent leaves the service on relay, and says so. */
BPF_F_TABLE("hash", struct slot_key, struct slot, direct_slots, 131072, 1 /* BPF_F_NO_PREALLOC */);

/* Members of direct services -> their seats. For the agent alone, which gives them; so its successor knows whose
 * each is. Full: as above. */
BPF_F_TABLE("hash", struct member_key, struct seat, direct_seats, 65536, 1 /* BPF_F_NO_PREALLOC */);

/* What the members carry, by their seats' indices: in a hash by member, which each connection asked three
 * times, they cost it 0.2 us more. Its 3.7 MB are there from the start. */
BPF_ARRAY(direct_members, struct member, 65536);

/* Direct connections, from the connect hook to their end: all that the hooks remember of them (berths.c). In the
 * sockets' own storage, which the kernel allocates twice, charges and frees by RCU, it cost each of them 0.8 us.
 * Taken out at the end; at the release, if it never began; or by the agent when the workload's hooks are gone. */
BPF_ARRAY(direct_berths, struct berth, 4096);

/* Those whose berths are others', by the cookies of their sockets. Full: carried and not counted, and its process
 * sees whom it reached; counted as FULL_LIVE. Its 11 MB are there from the start: to allocate, charge and free
 * each entry costs a connection more than all else that is done for it. */
BPF_TABLE("hash", __u64, struct followed, direct_live, 65536);

/* [0]: how many of those there are at most: mostly none, and then nobody looks. */
BPF_ARRAY(direct_crowd, __u64, 1);

/* Direct connections that have ended, until the agent has read them: 256 pages of 4096 bytes, for 8192 of
 * them. Full (no agent, or a slow one): counted as FULL_ENDED; what the members have carried is counted all
 * the same. */
BPF_RINGBUF_OUTPUT(direct_ended, 256);

/* Addresses of UDP services that the kernel picks for. Without slots: nobody may serve it now, and who
 * sends there is told so. Full: the agent says so; such a service is left alone. */
BPF_F_TABLE("hash", struct addr, struct service, udp_services, 16384, 1 /* BPF_F_NO_PREALLOC */);

/* As direct_slots, direct_seats and direct_members; a port of UDP is another than that of TCP. Of a
 * member `connections` counts the flows that began there, and the rest is 0. Whose seat is another's now
 * keeps no flow. */
BPF_F_TABLE("hash", struct slot_key, struct slot, udp_slots, 131072, 1 /* BPF_F_NO_PREALLOC */);
BPF_F_TABLE("hash", struct member_key, struct seat, udp_seats, 65536, 1 /* BPF_F_NO_PREALLOC */);
BPF_ARRAY(udp_members, struct member, 65536);

/* Socket and address of a service -> the member that it stays with. LRU, so full means: who was silent
 * longest picks anew, and may come to another member. */
BPF_TABLE("lru_hash", struct udp_key, struct udp_flow, udp_flows, 65536);

/* Socket and member -> as whom that member is to be seen. LRU, written again by each datagram that finds
 * it missing; full means: an answer after a long silence seems to come from the member itself. */
BPF_TABLE("lru_hash", struct udp_key, struct addr, udp_sources, 65536);

/* Which workloads may go to the members of which guarded services. Full: they are relayed, and the agent says so. */
BPF_F_TABLE("hash", struct grantee, struct grant, grants, 65536, 1 /* BPF_F_NO_PREALLOC */);

/* Connections that were granted, from their SYN to their end. More than can be remembered, so it is full of none.
 * Full all the same: counted as FULL_PASSAGES; the inbound door takes it for anybody's, and it may send nothing. */
BPF_F_TABLE("hash", struct passage, struct passenger, passages, 131072, 1 /* BPF_F_NO_PREALLOC */);

/* Sockets whose connections did not arrive where they were meant to, by their cookies. The sk_msg program of each is
 * `stop`. They are here until the agent ends them, at once. Full: only loopback and the agent's haste hold them. */
BPF_SOCKHASH(strays, __u64, 4096);

/* Excluded ports (key: direction << 16 | port) and destination networks. Bound by configuration. */
BPF_TABLE("hash", __u32, __u8, excluded_ports, 4096);
BPF_F_TABLE("lpm_trie", struct prefix, __u8, excluded_networks, 4096, 1 /* BPF_F_NO_PREALLOC */);

/* [0]: whether there is any destination in these two. Mostly there is none, and then no connect looks. */
BPF_ARRAY(excluding, __u32, 1);

/* Cookie of a UDP socket that asked for names -> which resolver it meant. Our resolver finds the
 * cookie by the query's source (sock_diag); the port is not chosen yet when a socket connects. LRU:
 * what is wanted is seconds old. If an entry goes all the same, `last_asked` is the next best. */
BPF_TABLE("lru_hash", __u64, struct origin, asked, 16384);

/* Workload -> the resolver that it asked last. LRU, so that workloads that have gone are what goes. */
BPF_TABLE("lru_hash", __u32, struct origin, last_asked, 1024);

/* [BEAT_OF_DOORS]: the clock (CLOCK_MONOTONIC, ns) when somebody last served the doors.
 * [BEAT_OF_RESOLVER]: when our resolver last said that it answers. */
BPF_ARRAY(heartbeat, __u64, 2);

/* [0]: LAYOUT_VERSION. */
BPF_ARRAY(layout, __u32, 1);

/* Decisions by reason. */
BPF_PERCPU_ARRAY(reasons, __u64, REASONS);

/* One pair per network namespace: made anew for each load of sk_lookup. */
BPF_ARRAY(here, struct here, 1);
BPF_TABLE("sockmap", __u32, __u32, inbound_doors, 2); /* 0: IPv4, 1: IPv6 */
