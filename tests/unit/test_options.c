/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's command line: values, cross-checks, conf=, what goes to
 * libfuse; and that the manual names every option of the table.
 */
#include <limits.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../ctl/options.h"
#include "check.h"

static struct options o;
static char err[256];

/* `colofs /s /m -o WORDS` */
static int parse(const char *words)
{
	char *argv[] = {(char *)"colofs", (char *)"/s",  (char *)"/m",
			(char *)"-o",     (char *)words, NULL};

	options_free(&o);
	return options_parse(&o, 5, argv, err, sizeof(err));
}

static bool refused(const char *words, const char *reason)
{
	bool ok = parse(words) < 0 && strstr(err, reason) && !strchr(err, '\n');

	if (!ok)
		printf("# -o %s: \"%s\" lacks \"%s\"\n", words, err, reason);
	return ok;
}

static bool defaults_are_the_contracts(void)
{
	CHECK(parse("") == 0);
	CHECK(strcmp(o.source, "/s") == 0 && strcmp(o.mountpoint, "/m") == 0);
	CHECK(o.role == ROLE_REMEMBERED && !o.insecure && !o.overwrite && !o.foreground);
	CHECK(o.commit_ms == 0 && o.link_timeout_ms == 5000 && o.flush_timeout_ms == 30000);
	CHECK(o.journal_size == 4ull << 30 && o.overlay_size == 4ull << 30);
	CHECK(o.send_buffer == 16u << 20);
	CHECK(!o.tls && !o.journal && !o.peer_name && !o.fuse_opts && !o.conf);
	CHECK(!o.peer.host[0] && !o.listen.host[0]);
	return true;
}

static bool sizes(void)
{
	CHECK(parse("journal-size=16M") == 0 && o.journal_size == 16u << 20);
	CHECK(parse("journal-size=16777216") == 0 && o.journal_size == 16u << 20);
	CHECK(parse("send-buffer=256K") == 0 && o.send_buffer == 256u << 10);
	CHECK(parse("send-buffer=1G") == 0 && o.send_buffer == 1u << 30);
	CHECK(refused("journal-size=15M", "out of bounds"));
	CHECK(refused("overlay-size=1023K", "out of bounds"));
	CHECK(refused("send-buffer=2G", "out of bounds"));
	CHECK(refused("send-buffer=1GB", "not a size"));
	CHECK(refused("send-buffer=", "needs a value"));
	CHECK(refused("send-buffer", "needs a value"));
	CHECK(refused("send-buffer=-1", "not a size"));
	CHECK(refused("journal-size=18446744073709551615G", "too large"));
	CHECK(refused("journal-size=18446744073709551616", "not a size"));
	return true;
}

static bool times(void)
{
	CHECK(parse("link-timeout=100") == 0 && o.link_timeout_ms == 100);
	CHECK(parse("link-timeout=2s") == 0 && o.link_timeout_ms == 2000);
	CHECK(parse("flush-timeout=250ms") == 0 && o.flush_timeout_ms == 250);
	CHECK(parse("flush-timeout=3600s") == 0 && o.flush_timeout_ms == 3600000);
	CHECK(refused("link-timeout=99", "out of bounds"));
	CHECK(refused("link-timeout=601s", "out of bounds"));
	CHECK(refused("link-timeout=1m", "not a time"));
	CHECK(parse("commit=1") == 0 && o.commit_ms == 1);
	CHECK(parse("commit=5s") == 0 && o.commit_ms == 5000);
	CHECK(parse("commit=5s,commit=manual") == 0 && o.commit_ms == 0);
	CHECK(refused("commit=0", "out of bounds"));
	CHECK(parse("commit=fsync") == 0 && o.commit_ms == COMMIT_FSYNC);
	CHECK(refused("commit=sync", "manual"));
	return true;
}

static bool hosts(void)
{
	CHECK(parse("insecure=yes,peer=127.0.0.1") == 0 && o.peer.port == PORT_DEFAULT);
	CHECK(strcmp(o.peer.host, "127.0.0.1") == 0);
	CHECK(parse("insecure=yes,peer=localhost:1") == 0 && o.peer.port == 1);
	CHECK(parse("insecure=yes,listen=[::1]:65535") == 0 && o.listen.port == 65535);
	CHECK(strcmp(o.listen.host, "::1") == 0);
	CHECK(parse("insecure=yes,listen=[::1]") == 0 && o.listen.port == PORT_DEFAULT);
	CHECK(parse("tls=/t,peer=[fe80::1%eth0]:9") == 0 && strcmp(o.peer_name, "fe80::1") == 0);
	CHECK(refused("peer=::1", "brackets"));
	CHECK(refused("peer=[::1", "not closed"));
	CHECK(refused("peer=[::1]x", "HOST:PORT"));
	CHECK(refused("peer=[nonsense]", "not an IPv6"));
	CHECK(refused("peer=:1", "host is missing"));
	CHECK(refused("peer=a:0", "1 to 65535"));
	CHECK(refused("peer=a:65536", "1 to 65535"));
	CHECK(refused("peer=a:", "1 to 65535"));
	CHECK(refused("peer=a b", "not a host"));
	CHECK(refused("listen=", "needs a value"));
	return true;
}

static bool peers_are_named(void)
{
	CHECK(parse("tls=/t,peer=b.example:1") == 0 && strcmp(o.peer_name, "b.example") == 0);
	CHECK(parse("tls=/t,peer=10.0.0.1,peer-name=b") == 0 && strcmp(o.peer_name, "b") == 0);
	CHECK(parse("tls=/t,listen=[::],peer-name=fd00::1") == 0);
	CHECK(refused("tls=/t,listen=0.0.0.0", "peer-name"));
	CHECK(refused("tls=/t,listen=0.0.0.0,peer=b", "peer-name"));
	CHECK(refused("peer-name=[::1]", "brackets"));
	CHECK(refused("peer-name=*.example", "not a DNS name"));
	CHECK(parse("tls=/t,listen=0.0.0.0,peer-pin=sha256:"
		    "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100") == 0);
	CHECK(o.have_peer_pin && o.peer_pin[1] == 0x11 && o.peer_pin[16] == 0xff && !o.peer_name);
	CHECK(refused("peer-pin=sha256:0011", "64 hex"));
	CHECK(refused("peer-pin=sha256:"
		      "0g112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100",
		      "64 hex"));
	return true;
}

static bool cross_checks(void)
{
	CHECK(refused("role=primary", "role=primary needs peer=HOST:PORT or listen=HOST:PORT"));
	CHECK(refused("role=backup,tls=/t", "role=backup needs"));
	CHECK(parse("role=unprotected") == 0 && o.role == ROLE_UNPROTECTED);
	CHECK(parse("role=primary,insecure=yes,listen=127.8.9.1") == 0 && o.role == ROLE_PRIMARY);
	CHECK(refused("role=twin", "a role is"));
	CHECK(refused("peer=b", "need tls=DIR"));
	CHECK(refused("peer=b,insecure=no", "need tls=DIR"));
	CHECK(refused("peer=b,insecure=yes", "loopback"));
	CHECK(refused("listen=0.0.0.0,insecure=yes", "loopback"));
	CHECK(refused("listen=[::],insecure=yes", "loopback"));
	CHECK(refused("peer=127.example,insecure=yes", "loopback"));
	CHECK(refused("peer=localhost,insecure=maybe", "yes or no"));
	CHECK(refused("peer=localhost,insecure=yes,tls=/t", "exclude"));
	CHECK(parse("overwrite=yes") == 0 && o.overwrite);
	CHECK(parse("role=backup,overwrite=yes,insecure=yes,listen=localhost") == 0);
	CHECK(refused("role=primary,overwrite=yes,insecure=yes,listen=localhost",
		      "role=backup only"));
	return true;
}

static bool choices(void)
{
	CHECK(parse("") == 0 && o.overlay && !o.suspend && !o.catch_up && o.resync_rate == 0);
	CHECK(parse("overlay=off,on-link-loss=suspend,congestion=catch-up,resync-rate=20M") == 0);
	CHECK(!o.overlay && o.suspend && o.catch_up && o.resync_rate == 20 << 20);
	CHECK(parse("overlay=on,on-link-loss=continue,congestion=block") == 0);
	CHECK(o.overlay && !o.suspend && !o.catch_up);
	CHECK(refused("overlay=maybe", "on|off"));
	CHECK(refused("on-link-loss=suspen", "suspend|continue"));
	CHECK(refused("congestion=catch-up|block", "catch-up|block"));
	return true;
}

static bool starting_alone(void)
{
	CHECK(parse("") == 0 && !o.start_alone && o.peer_wait_ms == 60000);
	CHECK(parse("peer-wait=2s,start-alone") == 0 && o.start_alone && o.peer_wait_ms == 2000);
	CHECK(parse("start-alone=no") == 0 && !o.start_alone && !o.fuse_opts);
	CHECK(parse("start-alone=yes") == 0 && o.start_alone);
	CHECK(refused("start-alone=maybe", "yes or no"));
	CHECK(refused("start-alone=", "yes or no"));
	CHECK(refused("peer-wait", "needs a value"));
	CHECK(refused("peer-wait=99", "out of bounds"));
	return true;
}

static bool failing_over_by_itself(void)
{
	CHECK(parse("") == 0 && !o.peer_loss_failover && !o.fence);
	CHECK(parse("on-peer-loss=failover,fence=/sbin/off\\,now") == 0 && o.peer_loss_failover);
	CHECK(!strcmp(o.fence, "/sbin/off,now"));
	CHECK(parse("fence=/sbin/off") == 0 && !o.peer_loss_failover);
	CHECK(parse("on-peer-loss=wait") == 0 && !o.fence);
	CHECK(refused("on-peer-loss=failover", "needs fence=COMMAND"));
	CHECK(refused("on-peer-loss=go", "failover|wait"));
	CHECK(refused("fence=", "needs a value"));
	return true;
}

static bool some_can_be_set_later(void)
{
	static struct options later;
	static char why[256];

	CHECK(options_set(&later, "commit", "2s", why, sizeof(why)) == 0 && later.commit_ms == 2000);
	CHECK(options_set(&later, "congestion", "catch-up", why, sizeof(why)) == 0 && later.catch_up);
	CHECK(options_set(&later, "journal-size", "1M", why, sizeof(why)) == -EINVAL && strstr(why, "bounds"));
	CHECK(options_set(&later, "role", "primary", why, sizeof(why)) == -EINVAL && strstr(why, "umount"));
	CHECK(options_set(&later, "nonsense", "1", why, sizeof(why)) == -EINVAL && strstr(why, "unknown"));
	return true;
}

static bool later_words_are_unknown(void)
{
	static const char *const words[] = {"start-along",          "peer-waits=1",
					    "fencing=/x",           "on-peer-lost=wait",
					    "journal-sise=1G",      "=x"};
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		CHECK(refused(words[i], "unknown option"));
	CHECK(refused("remount,rw", "remount is not possible"));
	return true;
}

static bool foreign_words_go_to_libfuse(void)
{
	CHECK(parse("rw,dev,suid,allow_other,commit=5s,fsname=a\\,b,max_read=1") == 0);
	CHECK(o.fuse_opts &&
	      strcmp(o.fuse_opts, "rw,dev,suid,allow_other,fsname=a\\,b,max_read=1") == 0);
	CHECK(parse("noauto,nofail,_netdev,user,nouser,x-systemd.automount,x-a=b,defaults,"
		    "relatime") == 0);
	CHECK(!o.fuse_opts);
	CHECK(parse("ro,nodev,nosuid,noexec,noatime,user=joe") == 0);
	CHECK(o.fuse_opts && strcmp(o.fuse_opts, "ro,nodev,nosuid,noexec,noatime") == 0);
	return true;
}

static bool escapes_and_paths(void)
{
	char cwd[PATH_MAX], want[PATH_MAX + 16];

	CHECK(parse("tls=/a\\,b,,journal=/c\\\\d\\e/") == 0);
	CHECK(o.tls && strcmp(o.tls, "/a,b") == 0);
	CHECK(o.journal && strcmp(o.journal, "/c\\d\\e") == 0);
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	CHECK(parse("tls=certs,journal=./j//") == 0);
	snprintf(want, sizeof(want), "%s/certs", cwd);
	CHECK(o.tls && strcmp(o.tls, want) == 0);
	snprintf(want, sizeof(want), "%s/j", cwd);
	CHECK(o.journal && strcmp(o.journal, want) == 0);
	CHECK(parse("tls=.") == 0 && o.tls && strcmp(o.tls, cwd) == 0);
	return true;
}

static int parse_argv(int argc, const char *const *argv)
{
	options_free(&o);
	return options_parse(&o, argc, (char **)argv, err, sizeof(err));
}

#define ARGV(...)                                                          \
	parse_argv(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
		   (const char *[]){__VA_ARGS__, NULL})

static bool forms_of_argv(void)
{
	CHECK(ARGV("colofs", "-fd", "/s", "-ocommit=7,rw", "/m", "-s") == 0);
	CHECK(o.foreground && o.debug && o.commit_ms == 7 && strcmp(o.fuse_opts, "rw") == 0);
	CHECK(ARGV("colofs", "-fo", "commit=8", "--", "-s", "-m") == 0 && o.commit_ms == 8);
	CHECK(strstr(o.source, "/-s") && strstr(o.mountpoint, "/-m"));
	CHECK(ARGV("colofs", "-V") == 0 && o.show_version);
	CHECK(ARGV("colofs", "--help") == 0 && o.show_help);
	CHECK(ARGV("colofs") < 0 && strstr(err, "usage"));
	CHECK(ARGV("colofs", "/s") < 0 && strstr(err, "usage"));
	CHECK(ARGV("colofs", "/s", "/m", "/x") < 0);
	CHECK(ARGV("colofs", "/s", "") < 0 && strstr(err, "empty path"));
	CHECK(ARGV("colofs", "/s", "/m", "-o") < 0 && strstr(err, "-o needs"));
	CHECK(ARGV("colofs", "/s", "/m", "-x") < 0 && strstr(err, "unknown flag"));
	CHECK(ARGV("colofs", "/s", "/m", "--fast") < 0 && strstr(err, "unknown flag"));
	CHECK(ARGV("colofs", "/s", "/m", "-o", "tls=\033[2J\n,peer=b c") < 0 &&
	      !strchr(err, '\033'));
	return true;
}

static bool conf_is(const char *text, size_t len, const char *extra)
{
	char path[] = "/tmp/colofs-conf-XXXXXX", words[256];
	int fd = mkstemp(path);
	bool ok = fd >= 0 && write(fd, text, len) == (ssize_t)len;

	snprintf(words, sizeof(words), "conf=%s%s", path, extra);
	ok = ok && parse(words) == 0;
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	return ok;
}

#define CONF(text, extra) conf_is(text, sizeof(text) - 1, extra)

static bool conf_files(void)
{
	CHECK(CONF("# a comment\n\n  commit=9  \r\njournal=/a,b\nfsname=c,d\nlink-timeout=1s",
		   ",commit=4"));
	CHECK(o.commit_ms == 4 && o.link_timeout_ms == 1000);
	CHECK(o.journal && strcmp(o.journal, "/a,b") == 0);
	CHECK(o.fuse_opts && strcmp(o.fuse_opts, "fsname=c\\,d") == 0);
	CHECK(CONF("", ""));
	CHECK(!CONF("commit=9\nbad-word=1\n", "") && strstr(err, ":2: unknown option"));
	CHECK(!CONF("conf=/etc/passwd\n", "") && strstr(err, "cannot stand"));
	CHECK(!CONF("commit=1\0x", "") && strstr(err, "not a text"));
	CHECK(!CONF("role=primary\n", "") && strstr(err, "needs peer="));
	CHECK(refused("conf=/nonexistent/x", "No such file"));
	return true;
}

static bool the_manual_names_every_option(void)
{
	static const char *const items[] = { /* a flag is said by its name alone */
#define X(name, type, field, min, max, def, unit, help) sizeof(unit) > 1 ? "\n.It Cm " name " Ns = Ns " : "\n.It Cm " name "\n",
#include "../../ctl/options.def"
#undef X
	};
	static char page[256 << 10];
	FILE *f = fopen("fs/colofs.8", "re");
	size_t i, len;

	CHECK(f != NULL); /* run from the top of the source tree */
	len = fread(page, 1, sizeof(page) - 1, f);
	page[len] = '\0';
	fclose(f);
	for (i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		bool found = strstr(page, items[i]) != NULL;

		if (!found)
			printf("# colofs.8 lacks%s\n", items[i]);
		CHECK(found);
	}
	return true;
}

int main(void)
{
	RUN(defaults_are_the_contracts);
	RUN(sizes);
	RUN(times);
	RUN(hosts);
	RUN(peers_are_named);
	RUN(cross_checks);
	RUN(choices);
	RUN(starting_alone);
	RUN(failing_over_by_itself);
	RUN(some_can_be_set_later);
	RUN(later_words_are_unknown);
	RUN(foreign_words_go_to_libfuse);
	RUN(escapes_and_paths);
	RUN(forms_of_argv);
	RUN(conf_files);
	RUN(the_manual_names_every_option);
	options_free(&o);
	return check_end();
}
