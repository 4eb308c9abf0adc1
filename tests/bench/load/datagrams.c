/*
 * Datagrams: `datagrams serve HOST PORT` answers each with itself; `datagrams send|connect HOST PORT MS`
 * asks one after the other for so long, from a socket that is not connected or is, and prints how many
 * answers came in how many nanoseconds, and of the processor. One that is lost ends it with an error after a second.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static socklen_t address(const char *host, const char *port, struct sockaddr_storage *to)
{
	struct sockaddr_in6 *six = (void *)to;
	struct sockaddr_in *four = (void *)to;

	memset(to, 0, sizeof *to);
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)atoi(port));
		return sizeof *four;
	}
	if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1)
		errx(2, "%s is no address", host);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons((uint16_t)atoi(port));
	return sizeof *six;
}

static long long now(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

int main(int argc, char **argv)
{
	struct sockaddr_storage to, from;
	struct timeval patience = { .tv_sec = 1 };
	char bytes[64] = { 0 };
	socklen_t size;

	if (argc < 4)
		errx(2, "want serve|send|connect HOST PORT MS");
	size = address(argv[2], argv[3], &to);
	int fd = socket(to.ss_family, SOCK_DGRAM, 0);
	if (fd < 0)
		err(1, "socket");
	if (!strcmp(argv[1], "serve")) {
		if (bind(fd, (void *)&to, size))
			err(1, "bind");
		puts("ready");
		fflush(stdout);
		for (;;) {
			socklen_t length = sizeof from;
			ssize_t got = recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &length);
			if (got < 0 || sendto(fd, bytes, (size_t)got, 0, (void *)&from, length) < 0)
				err(1, "answering");
		}
	}
	int tied = !strcmp(argv[1], "connect");
	if (argc < 5)
		errx(2, "want MS");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
		err(1, "SO_RCVTIMEO");
	if (tied && connect(fd, (void *)&to, size))
		err(1, "connect");
	long long cpu = now(CLOCK_PROCESS_CPUTIME_ID), began = now(CLOCK_MONOTONIC), count = 0, ended;
	long long until = began + atoll(argv[4]) * 1000000LL;
	do {
		socklen_t length = sizeof from;
		if (tied ? send(fd, bytes, sizeof bytes, 0) < 0 :
			   sendto(fd, bytes, sizeof bytes, 0, (void *)&to, size) < 0)
			err(1, "asking");
		if (tied ? recv(fd, bytes, sizeof bytes, 0) < 0 :
			   recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &length) < 0)
			err(1, "hearing");
		if (!tied && memcmp(&from, &to, size))
			errx(1, "an answer came from somebody else");
		count++;
	} while ((ended = now(CLOCK_MONOTONIC)) < until);
	printf("%lld %lld %lld\n", count, ended - began, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	return 0;
}
