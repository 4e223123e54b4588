/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop_limit DEVICE BYTES: from now on the loop device ends there, for whoever has it open too: all behind
 * is an I/O error, reads and writes alike, and nothing is lost. 0: the disk is whole again. So a test's disk
 * fails, in a part or as a whole, when it wants.
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct loop_info64 info;
	int fd;

	if (argc != 3) {
		fputs("usage: loop_limit DEVICE BYTES\n", stderr);
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info)) {
		perror(argv[1]);
		return 1;
	}
	info.lo_sizelimit = strtoull(argv[2], NULL, 0);
	if (ioctl(fd, LOOP_SET_STATUS64, &info)) {
		perror("LOOP_SET_STATUS64");
		return 1;
	}
	return 0;
}
