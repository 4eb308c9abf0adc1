/* Connections one after the other, some at a time: how fast do they open, answer and close? */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

void run_connect(unsigned connections, uint64_t run_ns, unsigned long most)
{
	struct tally connecting = new_tally("connect"), first = new_tally("first_byte"), whole = new_tally("whole");
	uint64_t *began = calloc(sysconf(_SC_OPEN_MAX), sizeof(*began)); /* by descriptor */
	struct epoll_event events[64];
	int poller = epoll_create1(EPOLL_CLOEXEC);
	unsigned long done = 0;
	unsigned open = 0;
	uint64_t start = now_ns(), connect_ns;

	must(began != NULL && connections <= 64, "connect");
	for (;;) {
		int going = now_ns() - start < run_ns && done + open < most && errors < 1000;

		while (going && open < connections) {
			uint64_t now = now_ns();
			int fd = dial(ECHO, 0, &connect_ns);

			if (fd < 0) {
				errors++;
				break;
			}
			began[fd] = now;
			open++;
			record(&connecting, connect_ns);
			watch(poller, fd, (struct epoll_event){.events = EPOLLIN, .data.fd = fd});
		}
		if (!going && !open)
			break;
		int count = open ? epoll_wait(poller, events, 64, -1) : 0;
		for (int i = 0; i < count; i++) {
			int fd = events[i].data.fd;
			char byte;
			int fine = recv(fd, &byte, 1, 0) == 1;
			uint64_t heard = now_ns();

			close(fd);
			open--;
			if (!fine) {
				errors++;
				continue;
			}
			done++;
			record(&first, heard - began[fd]);
			record(&whole, now_ns() - began[fd]);
		}
	}
	double seconds = (double)(now_ns() - start) / NS;
	printf("{\"operations\": %lu, \"seconds\": %.4f, \"errors\": %lu, \"per_second\": %.1f", done, seconds,
	       errors, done / seconds);
	print_tally(&connecting);
	print_tally(&first);
	print_tally(&whole);
	printf("}\n");
}
