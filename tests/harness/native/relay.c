// SPDX-License-Identifier: Apache-2.0
/*
 * relay A B: carries frames between two taps until stdin closes or a tap dies.
 * A and B are descriptors inherited from the parent. One read is one frame (with
 * its virtio_net_hdr, if both taps speak it), and is written unchanged.
 *
 * stdin is the lifeline: the parent holds its other end, so that this process
 * goes with the parent, however that ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define LONGEST_FRAME_BYTES (65536 + 64)
#define BURST_FRAMES 64

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

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;

	int a = atoi(argv[1]), b = atoi(argv[2]);
	struct pollfd watched[] = {
		{ .fd = STDIN_FILENO },
		{ .fd = a, .events = POLLIN },
		{ .fd = b, .events = POLLIN },
	};

	if (fcntl(a, F_SETFL, O_NONBLOCK) < 0 || fcntl(b, F_SETFL, O_NONBLOCK) < 0)
		return 1;
	for (;;) {
		if (poll(watched, 3, -1) < 0 && errno != EINTR)
			return 1;
		if (watched[0].revents)
			return 0;
		if ((watched[1].revents & POLLIN) && carry(a, b) < 0)
			return 1;
		if ((watched[2].revents & POLLIN) && carry(b, a) < 0)
			return 1;
		if ((watched[1].revents | watched[2].revents) & (POLLERR | POLLNVAL))
			usleep(1000); /* a downed tap: poll returns at once */
	}
}
