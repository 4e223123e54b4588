/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What anyone may write to MNT/.colo/ctl. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../ctl/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct command c;
	char err[96] = "";
	int ret = command_parse(&c, (const char *)data, size, err, sizeof(err));

	if (ret && (!err[0] || strchr(err, '\n') || (ret != -EINVAL && ret != -E2BIG) || !errno_name(-ret)))
		abort();
	if (!ret && (strlen(c.name) > NAME_MAX_LEN || c.verb > CMD_HELP || (c.verb != CMD_FLUSH && c.verb != CMD_PREPARE && c.name[0])))
		abort();
	return 0;
}
