/*
 * The server of the load generator: one thread, one epoll, any number of connections, one address.
 *
 * Prints its port on a line, one that is free if it was told none, and serves until it is killed. A connection that breaks is closed and forgotten:
 * the client counts errors, for it is the one whose experience is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

struct connection {
	struct hello hello;
	unsigned greeted; /* bytes of hello that are here */
	int ended;	  /* the client has sent its last byte */
	uint64_t received;
	uint64_t send_until_ns;
	char *unsent; /* echo that the client did not take yet; we read no more before it has */
	unsigned unsent_bytes;
};

/* By descriptor. The limit of descriptors is the bound; there is no other. */
static struct connection *connections;
static int poller;
static char chunk[CHUNK_BYTES];

static void watch(int fd, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	must(epoll_ctl(poller, operation, fd, &event) == 0, "epoll_ctl");
}

static void forget(int fd)
{
	free(connections[fd].unsent);
	memset(&connections[fd], 0, sizeof(connections[fd]));
	close(fd);
}

static void welcome(int door)
{
	int one = 1;
	int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		/* ECONNABORTED and the like: the client hears of it. Out of descriptors: the bench is wrong. */
		must(errno != EMFILE && errno != ENFILE, "accept4");
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	watch(fd, EPOLL_CTL_ADD, EPOLLIN);
}

/* 0 when the connection is over. */
static int echo(int fd, const char *bytes, unsigned count)
{
	struct connection *c = &connections[fd];
	ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		return 0;
	if (sent < 0)
		sent = 0;
	if (sent < count) {
		c->unsent_bytes = count - sent;
		c->unsent = malloc(c->unsent_bytes);
		must(c->unsent != NULL, "malloc");
		memcpy(c->unsent, bytes + sent, c->unsent_bytes);
		watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
	}
	return 1;
}

static int greet(int fd)
{
	struct connection *c = &connections[fd];
	ssize_t got = recv(fd, (char *)&c->hello + c->greeted, sizeof(c->hello) - c->greeted, 0);

	if (got < 0)
		return errno == EAGAIN;
	c->greeted += got;
	if (got == 0 || c->greeted < sizeof(c->hello))
		return got != 0;
	if (c->hello.purpose & DOWN) {
		c->send_until_ns = now_ns() + c->hello.milliseconds * (NS / 1000);
		watch(fd, EPOLL_CTL_MOD, EPOLLOUT | (c->hello.purpose & UP ? EPOLLIN : 0));
	}
	return send(fd, "k", 1, MSG_NOSIGNAL) == 1;
}

static int hear(int fd)
{
	struct connection *c = &connections[fd];
	ssize_t got = recv(fd, chunk, sizeof(chunk), 0);

	if (got < 0)
		return errno == EAGAIN;
	if (c->hello.purpose == ECHO)
		return got > 0 && echo(fd, chunk, got);
	c->received += got;
	if (got == 0) {
		c->ended = 1;
		watch(fd, EPOLL_CTL_MOD, EPOLLOUT);
	}
	return 1;
}

static int say(int fd)
{
	struct connection *c = &connections[fd];

	if (c->hello.purpose == ECHO) {
		char *bytes = c->unsent;
		unsigned count = c->unsent_bytes;

		c->unsent = NULL;
		c->unsent_bytes = 0;
		watch(fd, EPOLL_CTL_MOD, EPOLLIN);
		int alive = echo(fd, bytes, count);
		free(bytes);
		return alive;
	}
	if (now_ns() < c->send_until_ns)
		return send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
	if (c->hello.purpose & UP) {
		struct farewell farewell = {.received = c->received};

		if (!c->ended) {
			watch(fd, EPOLL_CTL_MOD, EPOLLIN);
			return 1;
		}
		return send(fd, &farewell, sizeof(farewell), MSG_NOSIGNAL) != sizeof(farewell) && errno == EAGAIN;
	}
	return 0;
}

static int serve(int fd, uint32_t events)
{
	if (events & EPOLLERR)
		return 0;
	if (connections[fd].greeted < sizeof(struct hello))
		return greet(fd);
	if (events & (EPOLLIN | EPOLLHUP) && !connections[fd].unsent && !connections[fd].ended)
		return hear(fd) && (!(events & EPOLLOUT) || say(fd));
	return say(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	struct epoll_event events[256];
	int one = 1;
	int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	must(argc > 1 && inet_pton(AF_INET, argv[1], &address.sin_addr) == 1, "usage: server IP [PORT]");
	address.sin_port = htons(argc > 2 ? atoi(argv[2]) : 0);
	setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	must(bind(door, (struct sockaddr *)&address, size) == 0, "bind");
	must(listen(door, 4096) == 0, "listen");
	must(getsockname(door, (struct sockaddr *)&address, &size) == 0, "getsockname");
	connections = calloc(sysconf(_SC_OPEN_MAX), sizeof(*connections));
	poller = epoll_create1(EPOLL_CLOEXEC);
	must(connections != NULL && poller >= 0, "start");
	watch(door, EPOLL_CTL_ADD, EPOLLIN);
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poller, events, 256, -1);

		must(count >= 0 || errno == EINTR, "epoll_wait");
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == door)
				welcome(door);
			else if (!serve(events[i].data.fd, events[i].events))
				forget(events[i].data.fd);
		}
	}
}
