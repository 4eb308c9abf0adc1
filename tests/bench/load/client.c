/*
 * The client of the load generator: an ordinary program that knows nothing of any mesh.
 *
 *   client connect   IP PORT CONNECTIONS SECONDS MOST    open, wait for the first byte, close, again
 *   client roundtrip IP PORT CONNECTIONS SECONDS [BYTES] so many there and back, 1 KiB if not said, again
 *   client rate      IP PORT CONNECTIONS SECONDS RATE MS 1 KiB at fixed times, in windows of MS
 *   client up|down|both IP PORT SECONDS                  as many bytes as go through
 *   client slots     IP PORT WHAT NUMBER                 work in slots, see slots.c
 *   client idle      IP PORT CONNECTIONS                 hold them until standard input ends
 *
 * Prints one line of JSON, or one a slot. Ends with 2 when it cannot measure, with 3 when nothing moves any more.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

static union {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} target;
static socklen_t target_size;
unsigned long errors;
char chunk[CHUNK_BYTES];
unsigned message_bytes = MESSAGE_BYTES;

static void read_target(const char *ip, const char *port)
{
	if (inet_pton(AF_INET, ip, &target.v4.sin_addr) == 1) {
		target.v4.sin_family = AF_INET;
		target_size = sizeof(target.v4);
	} else {
		must(inet_pton(AF_INET6, ip, &target.v6.sin6_addr) == 1, ip);
		target.v6.sin6_family = AF_INET6;
		target_size = sizeof(target.v6);
	}
	target.v4.sin_port = htons(atoi(port)); /* the same place in both families */
}

int dial(enum purpose purpose, unsigned milliseconds, uint64_t *connect_ns)
{
	struct hello hello = {.purpose = purpose, .milliseconds = milliseconds};
	int one = 1;
	int fd = socket(target.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	uint64_t began = now_ns();
	int connected = connect(fd, &target.any, target_size);
	*connect_ns = now_ns() - began;
	if (connected == 0 && send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello))
		return fd;
	/* Without a port left (TIME_WAIT) the number would be about this machine, not about the mesh. */
	must(errno != EADDRNOTAVAIL, "connect");
	close(fd);
	return -1;
}

int dial_through(enum purpose purpose, unsigned milliseconds)
{
	uint64_t connect_ns;
	char first;
	int fd = dial(purpose, milliseconds, &connect_ns);

	if (fd < 0 || recv(fd, &first, 1, 0) == 1)
		return fd;
	close(fd);
	return -1;
}

void watch(int poller, int fd, struct epoll_event event)
{
	must(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

static void run_idle(unsigned connections)
{
	unsigned open = 0;

	for (unsigned i = 0; i < connections; i++)
		dial_through(ECHO, 0) >= 0 ? open++ : errors++;
	printf("{\"operations\": %u, \"errors\": %lu}\n", open, errors);
	fflush(stdout);
	while (read(0, chunk, sizeof(chunk)) > 0)
		;
}

static void nothing_moves(int signal_number)
{
	static const char words[] = "client: nothing moves any more\n";

	(void)signal_number;
	if (write(2, words, sizeof(words) - 1)) {
	}
	_exit(3);
}

int main(int argc, char **argv)
{
	must(argc >= 5, "usage: see the head of client.c");
	const char *mode = argv[1];
	read_target(argv[2], argv[3]);
	unsigned first = atoi(argv[4]);
	uint64_t run_ns = (argc > 5 ? atof(argv[5]) : atof(argv[4])) * NS;
	/* Fifty microseconds of slack by default: more than what is measured here. */
	prctl(PR_SET_TIMERSLACK, 1);
	signal(SIGALRM, nothing_moves);
	if (strcmp(mode, "idle") && strcmp(mode, "slots"))
		alarm(run_ns / NS + 15);
	if (!strcmp(mode, "connect"))
		run_connect(first, run_ns, argc > 6 ? strtoul(argv[6], NULL, 10) : 10000);
	else if (!strcmp(mode, "roundtrip")) {
		if (argc > 6)
			message_bytes = strtoul(argv[6], NULL, 10);
		must(message_bytes > 0, "BYTES");
		run_messages(first, run_ns);
	}
	else if (!strcmp(mode, "rate") && argc > 7 && atoi(argv[6]) > 0 && atoi(argv[7]) > 0)
		run_rate(first, run_ns, atoi(argv[6]), atoi(argv[7]) * (NS / 1000));
	else if (!strcmp(mode, "up") || !strcmp(mode, "down") || !strcmp(mode, "both"))
		run_bulk(mode[0] == 'u' ? UP : mode[0] == 'd' ? DOWN : BOTH, run_ns);
	else if (!strcmp(mode, "slots") && argc > 5)
		run_slots(argv[4], strtoul(argv[5], NULL, 10));
	else if (!strcmp(mode, "idle"))
		run_idle(first);
	else
		must(0, mode);
	return 0;
}
