// SPDX-License-Identifier: Apache-2.0
/*
 * relay A B: carries frames between two taps until stdin closes or a tap dies.
 * A and B are descriptors inherited from the parent. One read is one frame (with
 * its virtio_net_hdr, if both taps speak it), and is written unchanged.
 *
 * SIGUSR1: read A no longer, but carry on from B to A, as a guest does whose
 * receive queue is stuck. SIGUSR2: read A again.
 *
 * stdin is the lifeline: the parent holds its other end, so that this process
 * goes with the parent, however that ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LONGEST_FRAME_BYTES (65536 + 64)
#define BURST_FRAMES 64

enum { LIFELINE, ORDERS, A, B, WATCHED };

/* 0 when the source is drained, -1 when it is gone. */
static int carry(int source, int sink)
{
	static char frame[LONGEST_FRAME_BYTES];

	for (int i = 0; i < BURST_FRAMES; i++) {
		ssize_t length = read(source, frame, sizeof(frame));

		if (length <= 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		/* A full or downed far side loses the frame, as a cable does. */
		if (write(sink, frame, length) < 0 && errno == EBADFD)
			return -1;
	}
	return 0;
}

/* Signals come by a descriptor: in a flood, poll would never be interrupted. */
static int orders(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -1;
	return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;

	int a = atoi(argv[1]), b = atoi(argv[2]);
	struct pollfd watched[WATCHED] = {
		[LIFELINE] = { .fd = STDIN_FILENO },
		[ORDERS] = { .fd = orders(), .events = POLLIN },
		[A] = { .fd = a, .events = POLLIN },
		[B] = { .fd = b, .events = POLLIN },
	};

	if (watched[ORDERS].fd < 0)
		return 1;
	if (fcntl(a, F_SETFL, O_NONBLOCK) < 0 || fcntl(b, F_SETFL, O_NONBLOCK) < 0)
		return 1;
	for (;;) {
		struct signalfd_siginfo order;

		if (poll(watched, WATCHED, -1) < 0) {
			if (errno == EINTR)
				continue;
			return 1;
		}
		if (watched[LIFELINE].revents)
			return 0;
		while (read(watched[ORDERS].fd, &order, sizeof(order)) == sizeof(order))
			watched[A].events = order.ssi_signo == SIGUSR2 ? POLLIN : 0;
		if ((watched[A].revents & watched[A].events & POLLIN) && carry(a, b) < 0)
			return 1;
		if ((watched[B].revents & POLLIN) && carry(b, a) < 0)
			return 1;
		if ((watched[A].revents | watched[B].revents) & (POLLERR | POLLNVAL))
			usleep(1000); /* a downed tap: poll returns at once */
	}
}
