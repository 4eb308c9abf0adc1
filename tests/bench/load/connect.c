/* Connections one after the other, some at a time: how fast do they open, answer and close? */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

struct churn new_churn(void)
{
	struct churn churn = {
		.connecting = new_tally("connect"),
		.first = new_tally("first_byte"),
		.whole = new_tally("whole"),
		.began = calloc(sysconf(_SC_OPEN_MAX), sizeof(*churn.began)),
		.poller = epoll_create1(EPOLL_CLOEXEC),
	};

	must(churn.began != NULL && churn.poller >= 0, "connect");
	return churn;
}

void open_and_close(struct churn *churn, unsigned connections, uint64_t run_ns, unsigned long most)
{
	struct epoll_event events[64];
	uint64_t start = now_ns(), connect_ns;
	unsigned open = 0;

	must(connections <= 64, "connect");
	for (;;) {
		int going = now_ns() - start < run_ns && churn->done + open < most && errors < 1000;

		while (going && open < connections) {
			uint64_t now = now_ns();
			int fd = dial(ECHO, 0, &connect_ns);

			if (fd < 0) {
				errors++;
				break;
			}
			churn->began[fd] = now;
			open++;
			record(&churn->connecting, connect_ns);
			watch(churn->poller, fd, (struct epoll_event){.events = EPOLLIN, .data.fd = fd});
		}
		if (!going && !open)
			break;
		int count = open ? epoll_wait(churn->poller, events, 64, -1) : 0;
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
			churn->done++;
			record(&churn->first, heard - churn->began[fd]);
			record(&churn->whole, now_ns() - churn->began[fd]);
		}
	}
}

void run_connect(unsigned connections, uint64_t run_ns, unsigned long most)
{
	struct churn churn = new_churn();
	uint64_t start = now_ns();

	open_and_close(&churn, connections, run_ns, most);
	double seconds = (double)(now_ns() - start) / NS;
	printf("{\"operations\": %lu, \"seconds\": %.4f, \"errors\": %lu, \"per_second\": %.1f", churn.done, seconds,
	       errors, churn.done / seconds);
	print_tally(&churn.connecting);
	print_tally(&churn.first);
	print_tally(&churn.whole);
	printf("}\n");
}
