/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * colofsctl certs: a private CA in DIR/ca and a directory for each node in
 * QEMU's layout. Each directory is made whole under another name and then
 * renamed, so that a run that is cut short leaves no half, and what exists is
 * never written over.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "colofsctl.h"
#include "colofsctl_x509.h"

#define NAME_LEN_MAX 63   /* a DNS label's limit, and CN's is 64 */
#define DNS_LEN_MAX  253
#define ALT_MAX      2048 /* bytes of "DNS:...,IP:..." */
#define NODES_MAX    64

struct node_spec {
	char name[NAME_LEN_MAX + 1];
	char alt[ALT_MAX];
};

struct ca {
	EVP_PKEY *key;
	X509 *cert;
};

/* ---- what was typed ---- */

static bool is_address(const char *text)
{
	unsigned char a[16];

	return inet_pton(AF_INET, text, a) == 1 || inet_pton(AF_INET6, text, a) == 1;
}

/* Letters, digits and hyphens between dots, and the underscore, which host names have all the same. No wildcard: the
 * daemon takes none. Also keeps OpenSSL's own syntax (commas, colons, "copy") out of the subjectAltName. */
static bool is_name(const char *text)
{
	size_t len;

	if (strlen(text) > DNS_LEN_MAX)
		return false;
	for (;; text += len + 1) {
		len = strcspn(text, ".");
		if (!len || len > NAME_LEN_MAX || text[0] == '-' || text[len - 1] == '-')
			return false;
		for (size_t i = 0; i < len; i++)
			if (!isalnum((unsigned char)text[i]) && !strchr("_-", text[i]))
				return false;
		if (!text[len])
			return true;
	}
}

/* What was meant as an address and is none must not become a name, which no peer would ever be asked for. */
static int check_word(const char *what)
{
	if (is_address(what))
		return EXIT_DONE;
	if (strchr(what, ':'))
		return ctl_usage("certs: \"%s\" is no IPv6 address; a port does not belong here", what);
	if (strchr(what, '.') && strspn(what, "0123456789.") == strlen(what))
		return ctl_usage("certs: \"%s\" is no IPv4 address", what);
	if (!is_name(what))
		return ctl_usage("certs: \"%s\" is neither a name nor an address", what);
	return EXIT_DONE;
}

static int add_alt(struct node_spec *n, const char *what)
{
	size_t len = strlen(n->alt), room = sizeof(n->alt) - len;
	int code = check_word(what);

	if (code)
		return code;
	if ((size_t)snprintf(n->alt + len, room, "%s%s:%s", len ? "," : "",
			     is_address(what) ? "IP" : "DNS", what) >= room)
		return ctl_usage("certs: too many addresses for %s", n->name);
	return EXIT_DONE;
}

/* NAME[,ADDRESS...] */
static int parse_node(struct node_spec *n, const char *arg)
{
	char *copy = strdup(arg), *save = NULL, *word;
	int code;

	if (!copy)
		return ctl_fail("out of memory");
	memset(n, 0, sizeof(*n));
	word = strtok_r(copy, ",", &save);
	if (!word || strlen(word) > NAME_LEN_MAX || strcmp(word, "ca") == 0) {
		code = ctl_usage(
			"certs: \"%s\": a node's name is 1 to %d of A-Za-z0-9._- and not \"ca\"",
			arg, NAME_LEN_MAX);
	} else if (!(code = check_word(word))) {
		strcpy(n->name, word); /* measured above */
		for (code = 0; word && !code; word = strtok_r(NULL, ",", &save))
			code = add_alt(n, word);
	}
	free(copy);
	return code;
}

/* ---- files ---- */

static FILE *create(int dir, const char *name, mode_t mode)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (fd >= 0 && !f)
		close(fd);
	return f;
}

/* f may be NULL, from a create() that failed. */
static int finish(FILE *f, const char *name, int written)
{
	bool ok = f && written && fflush(f) == 0 && fsync(fileno(f)) == 0;
	int error = errno;

	if (f && fclose(f))
		ok = false;
	return ok ? EXIT_DONE
		  : ctl_fail("%s: %s", name, f && !written ? x509_error() : strerror(error));
}

static int write_key(int dir, const char *name, EVP_PKEY *key)
{
	FILE *f = create(dir, name, 0600);

	return finish(f, name, f && PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
}

static int write_cert(int dir, const char *name, X509 *cert)
{
	FILE *f = create(dir, name, 0644);

	return finish(f, name, f && PEM_write_X509(f, cert));
}

static void remove_dir(int top, const char *name)
{
	static const char *const files[] = {"ca-cert.pem",    "ca-key.pem",      "server-cert.pem",
					    "server-key.pem", "client-cert.pem", "client-key.pem"};
	int dir = openat(top, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t i;

	if (dir >= 0) {
		for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
			unlinkat(dir, files[i], 0);
		close(dir);
	}
	unlinkat(top, name, AT_REMOVEDIR);
}

/* Makes top/name by fill(), all of it or nothing. Never replaces what is there. */
static int make_dir(int top, const char *name, int (*fill)(int dir, void *ctx), void *ctx)
{
	char temp[32];
	int dir, code;

	snprintf(temp, sizeof(temp), ".new-%ld", (long)getpid());
	if (mkdirat(top, temp, 0700) < 0)
		return ctl_fail("%s: %m", temp);
	dir = openat(top, temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	code = dir >= 0 ? fill(dir, ctx) : ctl_fail("%s: %m", temp);
	if (!code && fsync(dir) < 0)
		code = ctl_fail("%s: %m", temp);
	if (dir >= 0)
		close(dir);
	if (!code && renameat2(top, temp, top, name, RENAME_NOREPLACE) < 0)
		code = ctl_fail("%s: %m", name);
	if (!code && fsync(top) < 0) /* from here on the directory stays */
		code = ctl_fail("%s: %m", name);
	if (code)
		remove_dir(top, temp);
	return code;
}

/* ---- the CA ---- */

static int fill_ca(int dir, void *ctx)
{
	struct ca *ca = ctx;
	char name[64];
	unsigned char pin[32];

	ca->key = x509_key();
	if (!ca->key || x509_pin(ca->key, pin))
		return ctl_fail("%s", x509_error());
	/* Two CAs need two names, else a chain is ambiguous. */
	snprintf(name, sizeof(name), "colofs private CA %02x%02x%02x%02x", pin[0], pin[1], pin[2],
		 pin[3]);
	ca->cert = x509_make(CERT_CA, name, NULL, ca->key, NULL, ca->key);
	if (!ca->cert)
		return ctl_fail("%s", x509_error());
	return write_key(dir, "ca-key.pem", ca->key) || write_cert(dir, "ca-cert.pem", ca->cert);
}

static FILE *open_in(int top, const char *name)
{
	int fd = openat(top, name, O_RDONLY | O_CLOEXEC);
	FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;

	if (fd >= 0 && !f)
		close(fd);
	return f;
}

static int load_ca(int top, struct ca *ca)
{
	FILE *key = open_in(top, "ca/ca-key.pem");
	FILE *cert = open_in(top, "ca/ca-cert.pem");
	int code = EXIT_DONE;

	if (!key || !cert)
		code = ctl_fail("DIR/ca is there, but not its ca-key.pem and ca-cert.pem: %m");
	if (!code) {
		ca->key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
		ca->cert = PEM_read_X509(cert, NULL, NULL, NULL);
		if (!ca->key || !ca->cert || !x509_is_ca(ca->cert, ca->key))
			code = ctl_fail("DIR/ca: its key and certificate are no CA: %s",
					x509_error());
	}
	if (key)
		fclose(key);
	if (cert)
		fclose(cert);
	return code;
}

/* ---- nodes ---- */

struct node_job {
	const struct node_spec *spec;
	const struct ca *ca;
	unsigned char pin[32];
};

/*
 * One key for both certificates: a node then has one public key, and one
 * peer-pin= holds whichever side connects.
 */
static int fill_node(int dir, void *ctx)
{
	struct node_job *j = ctx;
	const struct node_spec *n = j->spec;
	EVP_PKEY *key = x509_key();
	X509 *server = NULL, *client = NULL;
	int code = EXIT_DONE;

	if (key && x509_pin(key, j->pin) == 0) {
		server = x509_make(CERT_SERVER, n->name, n->alt, key, j->ca->cert, j->ca->key);
		client = x509_make(CERT_CLIENT, n->name, n->alt, key, j->ca->cert, j->ca->key);
	}
	if (!server || !client)
		code = ctl_fail("%s: %s", n->name, x509_error());
	else if (write_cert(dir, "ca-cert.pem", j->ca->cert) ||
		 write_key(dir, "server-key.pem", key) ||
		 write_cert(dir, "server-cert.pem", server) ||
		 write_key(dir, "client-key.pem", key) ||
		 write_cert(dir, "client-cert.pem", client))
		code = EXIT_FAILED;
	X509_free(server);
	X509_free(client);
	EVP_PKEY_free(key);
	return code;
}

static int make_node(int top, const char *dir, const struct node_spec *n, const struct ca *ca)
{
	struct node_job j = {.spec = n, .ca = ca};
	int code = make_dir(top, n->name, fill_node, &j);
	size_t i;

	if (code)
		return code;
	printf("%s/%s: %s, peer-pin=sha256:", dir, n->name, n->alt);
	for (i = 0; i < sizeof(j.pin); i++)
		printf("%02x", j.pin[i]);
	printf("\n");
	return EXIT_DONE;
}

static int make_all(int top, const char *dir, const struct node_spec *nodes, int count)
{
	struct ca ca = {NULL, NULL};
	struct stat st;
	int i, code;

	/* All or nothing as far as can be seen beforehand. */
	for (i = 0; i < count; i++)
		if (fstatat(top, nodes[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return ctl_fail(
				"%s/%s exists; its keys are not replaced: move it away first", dir,
				nodes[i].name);
	if (fstatat(top, "ca", &st, AT_SYMLINK_NOFOLLOW) == 0)
		code = load_ca(top, &ca);
	else
		code = make_dir(top, "ca", fill_ca, &ca);
	for (i = 0; i < count && !code; i++)
		code = make_node(top, dir, &nodes[i], &ca);
	if (!code)
		printf("Copy each directory to its node (tls=DIR there). %s/ca signs further "
		       "nodes: keep it "
		       "off the nodes.\n",
		       dir);
	X509_free(ca.cert);
	EVP_PKEY_free(ca.key);
	return code;
}

int ctl_certs(int argc, char **argv)
{
	struct node_spec *nodes;
	int i, k, top, count = argc - 2, code = EXIT_DONE;

	if (argc < 3 || argv[1][0] == '-' || !argv[1][0] || count > NODES_MAX)
		return ctl_usage("usage: colofsctl certs DIR NAME[,ADDRESS...]...");
	nodes = calloc((size_t)count, sizeof(*nodes));
	if (!nodes)
		return ctl_fail("out of memory");
	for (i = 0; i < count && !code; i++) {
		code = parse_node(&nodes[i], argv[i + 2]);
		for (k = 0; k < i && !code; k++)
			if (strcmp(nodes[i].name, nodes[k].name) == 0)
				code = ctl_usage("certs: %s is named twice", nodes[i].name);
	}
	if (!code) {
		if (mkdir(argv[1], 0700) < 0 && errno != EEXIST)
			code = ctl_fail("%s: %m", argv[1]);
		top = code ? -1 : open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (!code && top < 0)
			code = ctl_fail("%s: %m", argv[1]);
		if (!code)
			code = make_all(top, argv[1], nodes, count);
		if (top >= 0)
			close(top);
	}
	free(nodes);
	return code;
}
