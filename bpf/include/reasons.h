/*
 * Why a hook did what it did: one closed list, counted per reason, named in Python by
 * meshtrio/intercept/layout.py (a test compares the two).
 */
#pragma once

enum reason {
	/* outbound: the socket goes to our door */
	REDIRECTED = 0,
	/* outbound: left alone, because it is none of our business */
	LEFT_NOT_TCP = 1,
	LEFT_NO_CONFIG = 2,
	LEFT_OURS = 3,
	LEFT_LOOPBACK = 4,
	LEFT_EXCLUDED = 5,
	/* outbound: should be caught and cannot be; the workload's policy is open */
	OPEN_AGENT_LOST = 6,
	OPEN_CANNOT_CATCH = 7,
	/* outbound: should be caught and cannot be; the workload's policy is closed */
	REFUSED_AGENT_LOST = 8,
	REFUSED_CANNOT_CATCH = 9,
	/* outbound: a workload dialled the door itself */
	REFUSED_DOOR = 10,
	/* inbound: the connection goes to our door */
	CAUGHT = 11,
	/* inbound: nobody of ours listens on this port, or it is excluded. Not counted: that would cost
	 * every connection of the machine */
	PASSED_NOT_OURS = 12,
	/* inbound: our own dial to the app */
	PASSED_OUR_DIAL = 13,
	/* inbound: should be caught and cannot be: open, closed */
	PASSED_AGENT_LOST = 14,
	DROPPED_AGENT_LOST = 15,
	/* bookkeeping */
	FULL_DESTINATIONS = 16,
	FULL_PORTS = 17,
	FULL_FLOWS = 18,
	/* names: the query goes to our resolver */
	RESOLVED_BY_US = 19,
	/* names: should go to our resolver and cannot. Always open: the resolver that was meant is asked */
	OPEN_NO_RESOLVER = 20,
	/* bookkeeping */
	FULL_ASKED = 21,
	/* outbound: the socket goes to a member of the service, without us */
	DIRECT = 22,
	/* bookkeeping: a direct connection that cannot be counted, or not be shown after it has ended */
	FULL_LIVE = 23,
	FULL_ENDED = 24,
	/* bookkeeping: a direct service without the member that was picked; the connection is relayed */
	MISSED_MEMBER = 25,
	/* UDP: a datagram, or a connect, goes to a member of the service */
	UDP_DIRECT = 26,
	/* UDP: the service has no member that may be picked, so the call fails */
	REFUSED_NO_MEMBER = 27,
	/* bookkeeping: a flow of UDP that cannot be remembered */
	FULL_UDP_FLOWS = 28,
	/* inbound: a workload of this node that has been granted to come without us */
	PASSED_GRANTED = 29,
	/* outbound: a granted connection that did not arrive where it was meant to, and may send nothing */
	STOPPED_ASTRAY = 30,
	/* bookkeeping: a granted connection that cannot be noted; where it comes to nobody knows whose it is */
	FULL_PASSAGES = 31,
	REASONS = 32,
};
