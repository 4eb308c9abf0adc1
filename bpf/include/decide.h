/*
 * The decisions, and nothing else: no map, no helper, no context. Builds natively too, so that
 * tests can hold it against a model over every input.
 */
#pragma once
#include "reasons.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define FACT_TCP (1u << 0)
#define FACT_CONFIG (1u << 1)		/* the agent has said who this workload is */
#define FACT_OURS (1u << 2)		/* carries our mark */
#define FACT_DOOR_ITSELF (1u << 3)	/* dials our own door */
#define FACT_EXCLUDED (1u << 4)		/* port or network is excluded by configuration */
#define FACT_LOCAL (1u << 5)		/* loopback, unspecified or link-local destination */
#define FACT_SERVICE (1u << 6)		/* the catalog knows this address and port */
#define FACT_CANNOT_CATCH (1u << 7)	/* no door for the family, other netns, bound to a device */
#define FACT_BEATING (1u << 8)		/* somebody serves the doors */
#define FACT_CLOSED (1u << 9)		/* on_agent_loss: closed */
#define FACT_DNS (1u << 10)		/* asks for names by UDP or TCP, and our resolver wants to answer */
#define FACT_RESOLVING (1u << 11)	/* our resolver lives, and this socket can reach it */
#define FACT_DIRECT (1u << 12)		/* the service has members to which its callers may go themselves */
#define FACTS 13

/*
 * What to do with a connect, or with a datagram. When we should catch a connection and cannot, the
 * workload's own policy decides: open lets it pass unmeshed, closed refuses it. Names are no security
 * border, so without our resolver a datagram passes, whatever the policy; a TCP connection to port
 * 53 is then a connection like any other.
 */
static __always_inline enum reason decide_outbound(__u32 facts)
{
	if (!(facts & (FACT_TCP | FACT_DNS)))
		return LEFT_NOT_TCP;
	if (!(facts & FACT_CONFIG))
		return LEFT_NO_CONFIG;
	if (facts & FACT_OURS)
		return LEFT_OURS;
	if (facts & FACT_DOOR_ITSELF)
		return REFUSED_DOOR;
	if (facts & FACT_EXCLUDED)
		return LEFT_EXCLUDED;
	/* Before the rest: resolvers are often on loopback, and often services of the catalog. */
	if ((facts & FACT_DNS) && (facts & FACT_RESOLVING))
		return RESOLVED_BY_US;
	if (!(facts & FACT_TCP))
		return OPEN_NO_RESOLVER;
	if ((facts & FACT_LOCAL) && !(facts & FACT_SERVICE))
		return LEFT_LOOPBACK;
	/* Needs nobody of ours, so it outlives us: neither the heartbeat nor the policy without it matter. */
	if (facts & FACT_DIRECT)
		return DIRECT;
	if (!(facts & FACT_BEATING))
		return facts & FACT_CLOSED ? REFUSED_AGENT_LOST : OPEN_AGENT_LOST;
	if (facts & FACT_CANNOT_CATCH)
		return facts & FACT_CLOSED ? REFUSED_CANNOT_CATCH : OPEN_CANNOT_CATCH;
	return REDIRECTED;
}

/* Whether a connect, or a datagram, with this reason may go on. */
static __always_inline int may_connect(enum reason why)
{
	return why != REFUSED_AGENT_LOST && why != REFUSED_CANNOT_CATCH && why != REFUSED_DOOR &&
	       why != REFUSED_NO_MEMBER;
}

/*
 * What to do with a datagram, or a connect, to an address of a UDP service. FACT_DIRECT: it has members.
 * Like what is direct by TCP it needs nobody of ours, so neither heartbeat nor policy matter.
 */
static __always_inline enum reason decide_datagram(__u32 facts)
{
	if (!(facts & FACT_CONFIG))
		return LEFT_NO_CONFIG;
	if (facts & FACT_OURS)
		return LEFT_OURS;
	if (facts & FACT_EXCLUDED)
		return LEFT_EXCLUDED;
	return facts & FACT_DIRECT ? UDP_DIRECT : REFUSED_NO_MEMBER;
}

/* Whether it goes to the member that was picked. */
static __always_inline int is_direct(enum reason why)
{
	return why == DIRECT || why == UDP_DIRECT;
}

#define FACT_LISTENED (1u << 0)		/* a workload of ours listens on the port */
#define FACT_OUR_DIAL (1u << 1)		/* the peer is our own dial to the app */
#define FACT_ALIVE (1u << 2)		/* somebody serves the doors, and the door is there */
#define FACT_STRICT (1u << 3)		/* on_agent_loss: closed */
#define FACT_GRANTED (1u << 4)		/* the peer is a workload of ours that may come without us */
#define INBOUND_FACTS 5

/* What to do with an incoming connection. */
static __always_inline enum reason decide_inbound(__u32 facts)
{
	if (!(facts & FACT_LISTENED))
		return PASSED_NOT_OURS;
	if (facts & FACT_OUR_DIAL)
		return PASSED_OUR_DIAL;
	if (facts & FACT_GRANTED)
		return PASSED_GRANTED;
	if (!(facts & FACT_ALIVE))
		return facts & FACT_STRICT ? DROPPED_AGENT_LOST : PASSED_AGENT_LOST;
	return CAUGHT;
}
