/* Connections on which messages go there and back, and which stay. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "client.h"

struct caller *open_callers(unsigned connections, int *poller)
{
	struct caller *callers = calloc(connections, sizeof(*callers));

	*poller = epoll_create1(EPOLL_CLOEXEC);
	must(callers != NULL && *poller >= 0, "start");
	for (unsigned i = 0; i < connections; i++) {
		callers[i].fd = dial_through(ECHO, 0);
		must(callers[i].fd >= 0, "dial");
		fcntl(callers[i].fd, F_SETFL, O_NONBLOCK);
		/* Edge-triggered: EPOLLOUT speaks only when there is room again. */
		watch(*poller, callers[i].fd,
		      (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = i});
	}
	return callers;
}

void push(struct caller *caller)
{
	while (caller->sent < caller->due * message_bytes) {
		uint64_t left = caller->due * message_bytes - caller->sent;
		ssize_t sent = send(caller->fd, chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES, MSG_NOSIGNAL);

		if (sent < 0) {
			must(errno == EAGAIN, "send");
			return;
		}
		caller->sent += sent;
	}
}
