/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the given inputs through a target once, without libFuzzer: for builds by gcc, as `make coverage` makes them. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(const char *path)
{
	static uint8_t buf[1u << 20];
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		return 1;
	}
	size_t len = fread(buf, 1, sizeof(buf), f);

	fclose(f);
	/* exactly as long as the input, so that a read behind its end can be seen */
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, buf, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	return 0;
}

int main(int argc, char **argv)
{
	int bad = 0, count = 0;

	for (int i = 1; i < argc; i++) {
		DIR *d = opendir(argv[i]);
		struct dirent *e;
		char path[4096];

		if (!d) {
			bad |= run(argv[i]);
			count++;
			continue;
		}
		while ((e = readdir(d))) {
			if (e->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
			bad |= run(path);
			count++;
		}
		closedir(d);
	}
	printf("%d inputs\n", count);
	return bad;
}
