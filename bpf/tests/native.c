/*
 * The parts of the hooks that ask no kernel, built for this machine: tests call them through ctypes
 * (tests/support/native.py). Maps are answered by fakes whose answers the test sets; bcc's map methods
 * are members that are called, so a struct of function pointers is a map.
 */
#include <linux/types.h>

#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_htons(x) __builtin_bswap16(x)

#include "../include/layout.h"
#include "../include/reasons.h"
#include "../include/decide.h"

#define REGISTERED __attribute__((visibility("default")))
#define OFFSET(type, field) __builtin_offsetof(type, field)

/* What the fakes answer. */
REGISTERED __u64 fake_clock, fake_beat, fake_resolver_beat, fake_counters[REASONS];
REGISTERED int fake_beat_is_there = 1;
REGISTERED __u32 fake_excluded_key;

static __u64 bpf_ktime_get_ns(void)
{
	return fake_clock;
}

static __u64 *look_up_counter(__u32 *slot)
{
	return *slot < REASONS ? &fake_counters[*slot] : NULL;
}

static __u64 *look_up_beat(__u32 *slot)
{
	if (!fake_beat_is_there)
		return NULL;
	return *slot == BEAT_OF_DOORS ? &fake_beat : *slot == BEAT_OF_RESOLVER ? &fake_resolver_beat : NULL;
}

static __u8 *look_up_excluded(__u32 *key)
{
	static __u8 there = 1;
	return *key == fake_excluded_key ? &there : NULL;
}

static const struct {
	__u64 *(*lookup)(__u32 *);
} reasons = { look_up_counter }, heartbeat = { look_up_beat };
static const struct {
	__u8 *(*lookup)(__u32 *);
} excluded_ports = { look_up_excluded };

#include "../include/seen.h"

REGISTERED __u32 native_decide_outbound(__u32 facts)
{
	return decide_outbound(facts);
}

REGISTERED __u32 native_decide_datagram(__u32 facts)
{
	return decide_datagram(facts);
}

REGISTERED __u32 native_decide_inbound(__u32 facts)
{
	return decide_inbound(facts);
}

REGISTERED int native_may_connect(__u32 why)
{
	return may_connect((enum reason)why);
}

REGISTERED int native_is_local(const struct addr *a)
{
	return is_local(a);
}

REGISTERED int native_is_link_local(const struct addr *a)
{
	return is_link_local(a);
}

REGISTERED int native_is_mapped(const struct addr *a)
{
	return is_mapped(a);
}

REGISTERED void native_map_v4(struct addr *to, __u32 ip4)
{
	map_v4(to, ip4);
}

REGISTERED int native_beating(__u32 whose)
{
	return beating(whose);
}

REGISTERED int native_port_excluded(__u32 direction, __u32 port)
{
	return port_excluded(direction, (__u16)port);
}

REGISTERED int native_is_our_mark(__u32 mark)
{
	return is_our_mark(mark);
}

REGISTERED void native_count(__u32 why)
{
	count((enum reason)why);
}

/* Names and numbers, until a name is NULL. */
struct number {
	const char *name;
	__u64 value;
};

#define SIZE(type) { "sizeof " #type, sizeof(struct type) }
#define FIELD(type, field) { #type "." #field, OFFSET(struct type, field) }
#define NUMBER(name) { #name, name }

REGISTERED const struct number native_numbers[] = {
	SIZE(addr), FIELD(addr, ip), FIELD(addr, port),
	SIZE(place), FIELD(place, netns), FIELD(place, addr), FIELD(place, door),
	SIZE(voucher), FIELD(voucher, source), FIELD(voucher, to),
	SIZE(port_key), FIELD(port_key, netns), FIELD(port_key, port),
	SIZE(workload), FIELD(workload, netns), FIELD(workload, id), FIELD(workload, flags),
	FIELD(workload, door4), FIELD(workload, door6), FIELD(workload, dns4), FIELD(workload, dns6),
	FIELD(workload, sticky),
	SIZE(flow), FIELD(flow, netns), FIELD(flow, destination), FIELD(flow, workload),
	SIZE(service), FIELD(service, generation), FIELD(service, slots), FIELD(service, algorithm),
	FIELD(service, turn),
	SIZE(seat), FIELD(seat, index), FIELD(seat, holder),
	SIZE(slot), FIELD(slot, member), FIELD(slot, seat), FIELD(slot, called), FIELD(slot, netns),
	SIZE(grantee), FIELD(grantee, service), FIELD(grantee, workload),
	SIZE(grant), FIELD(grant, until), FIELD(grant, generation),
	SIZE(passage), FIELD(passage, netns), FIELD(passage, source), FIELD(passage, member),
	SIZE(passenger), FIELD(passenger, cookie), FIELD(passenger, called), FIELD(passenger, arrived),
	SIZE(slot_key), FIELD(slot_key, service), FIELD(slot_key, slot), FIELD(slot_key, generation),
	SIZE(member_key), FIELD(member_key, service), FIELD(member_key, member),
	SIZE(member), FIELD(member, holder), FIELD(member, connections), FIELD(member, established),
	FIELD(member, failed), FIELD(member, active),
	FIELD(member, sent), FIELD(member, received),
	SIZE(live), FIELD(live, source), FIELD(live, destination), FIELD(live, member),
	FIELD(live, workload), FIELD(live, called), FIELD(live, netns), FIELD(live, began),
	SIZE(followed), FIELD(followed, live), FIELD(followed, there), FIELD(followed, seat), FIELD(followed, flags),
	SIZE(berth), FIELD(berth, claims), FIELD(berth, cookie), FIELD(berth, followed), NUMBER(BERTHS),
	SIZE(ended), FIELD(ended, was), FIELD(ended, cookie), FIELD(ended, at), FIELD(ended, sent),
	FIELD(ended, received), FIELD(ended, state), FIELD(ended, flags),
	SIZE(udp_key), FIELD(udp_key, cookie), FIELD(udp_key, addr),
	SIZE(udp_flow), FIELD(udp_flow, member), FIELD(udp_flow, seat), FIELD(udp_flow, generation),
	NUMBER(FLOW_BEGUN), NUMBER(FLOW_RELEASED), NUMBER(FLOW_RETRANSMITTED), NUMBER(FLOW_ASTRAY),
	NUMBER(PICK_TURNS), NUMBER(PICK_LUCK), NUMBER(PICK_LEAST), NUMBER(PICK_STICKY), NUMBER(PICK_GUARDED),
	SIZE(origin), FIELD(origin, destination), FIELD(origin, workload),
	SIZE(listener), FIELD(listener, workload), FIELD(listener, sockets),
	SIZE(bound), FIELD(bound, key),
	SIZE(here), FIELD(here, netns), FIELD(here, flags),
	SIZE(prefix), FIELD(prefix, bits), FIELD(prefix, ip),
	NUMBER(LAYOUT_VERSION), NUMBER(HEARTBEAT_STALE_NS), NUMBER(BEAT_OF_DOORS),
	NUMBER(BEAT_OF_RESOLVER), NUMBER(DNS_PORT), NUMBER(WORKLOAD_CLOSED),
	NUMBER(WORKLOAD_CHECK_NETNS), NUMBER(WORKLOAD_RELAYED), NUMBER(EXCLUDED_OUTBOUND), NUMBER(EXCLUDED_INBOUND),
	NUMBER(MARK_MASK), NUMBER(MARK_OUTBOUND_DIAL), NUMBER(MARK_APP_DIAL),
	NUMBER(FACT_TCP), NUMBER(FACT_CONFIG), NUMBER(FACT_OURS), NUMBER(FACT_DOOR_ITSELF),
	NUMBER(FACT_EXCLUDED), NUMBER(FACT_LOCAL), NUMBER(FACT_SERVICE), NUMBER(FACT_CANNOT_CATCH),
	NUMBER(FACT_BEATING), NUMBER(FACT_CLOSED), NUMBER(FACT_DNS), NUMBER(FACT_RESOLVING),
	NUMBER(FACT_DIRECT), NUMBER(FACTS),
	NUMBER(FACT_LISTENED), NUMBER(FACT_OUR_DIAL), NUMBER(FACT_ALIVE), NUMBER(FACT_STRICT),
	NUMBER(FACT_GRANTED),
	NUMBER(INBOUND_FACTS),
	NUMBER(REDIRECTED), NUMBER(LEFT_NOT_TCP), NUMBER(LEFT_NO_CONFIG), NUMBER(LEFT_OURS),
	NUMBER(LEFT_LOOPBACK), NUMBER(LEFT_EXCLUDED), NUMBER(OPEN_AGENT_LOST), NUMBER(OPEN_CANNOT_CATCH),
	NUMBER(REFUSED_AGENT_LOST), NUMBER(REFUSED_CANNOT_CATCH), NUMBER(REFUSED_DOOR), NUMBER(CAUGHT),
	NUMBER(PASSED_NOT_OURS), NUMBER(PASSED_OUR_DIAL), NUMBER(PASSED_AGENT_LOST),
	NUMBER(DROPPED_AGENT_LOST), NUMBER(FULL_DESTINATIONS), NUMBER(FULL_PORTS), NUMBER(FULL_FLOWS),
	NUMBER(RESOLVED_BY_US), NUMBER(OPEN_NO_RESOLVER), NUMBER(FULL_ASKED), NUMBER(DIRECT),
	NUMBER(FULL_LIVE), NUMBER(FULL_ENDED), NUMBER(MISSED_MEMBER),
	NUMBER(UDP_DIRECT), NUMBER(REFUSED_NO_MEMBER), NUMBER(FULL_UDP_FLOWS),
	NUMBER(PASSED_GRANTED), NUMBER(STOPPED_ASTRAY), NUMBER(FULL_PASSAGES), NUMBER(REASONS),
	{ NULL, 0 },
};
