/* As many bytes as go through one connection, with a check at the end that none was lost. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

/* Remember the last eight bytes of all, of which n (or none) have just come. */
static void keep_last(struct farewell *farewell, ssize_t n)
{
	size_t size = sizeof(*farewell), fresh = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size;

	memmove(farewell, (char *)farewell + fresh, size - fresh);
	memcpy((char *)farewell + size - fresh, chunk + (n < 0 ? 0 : n) - fresh, fresh);
}

struct moved move_bytes(enum purpose purpose, uint64_t run_ns)
{
	int fd = dial_through(purpose, run_ns / 1000000);
	uint64_t sent = 0, received = 0, start = now_ns();
	int sending = purpose & UP;
	struct farewell farewell = {0}; /* the last bytes seen, however they were cut */
	ssize_t n;

	must(fd >= 0, "dial");
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (;;) {
		struct pollfd ready = {.fd = fd, .events = POLLIN | (sending ? POLLOUT : 0)};

		must(poll(&ready, 1, -1) == 1, "poll");
		if (sending && now_ns() - start >= run_ns) {
			shutdown(fd, SHUT_WR);
			sending = 0;
		} else if (sending && ready.revents & POLLOUT) {
			n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL);
			must(n > 0 || errno == EAGAIN, "send");
			sent += n > 0 ? n : 0;
		}
		if (!(ready.revents & (POLLIN | POLLHUP | POLLERR)))
			continue;
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n == 0)
			break;
		must(n > 0 || errno == EAGAIN, "recv");
		keep_last(&farewell, n);
		received += n > 0 ? n : 0;
	}
	struct moved moved = {.bytes = sent + received, .ns = now_ns() - start};
	if (purpose & UP) {
		moved.bytes -= sizeof(farewell);
		errors += farewell.received != sent;
	}
	close(fd);
	return moved;
}

void run_bulk(enum purpose purpose, uint64_t run_ns)
{
	struct moved moved = move_bytes(purpose, run_ns);
	double seconds = (double)moved.ns / NS;

	printf("{\"operations\": %.0f, \"seconds\": %.4f, \"errors\": %lu, \"gigabytes_per_second\": %.4f}\n",
	       moved.bytes / 1e6, seconds, errors, moved.bytes / seconds / 1e9);
}
