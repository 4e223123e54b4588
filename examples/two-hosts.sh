#!/bin/sh
# alpha (192.0.2.1) becomes the primary, beta (192.0.2.2) the backup of the images in /var/lib/colofs/vm1.
# Run on alpha as root; colofs is installed on both; ssh to beta works.
set -e
umask 077
colofsctl certs /root/pki alpha,192.0.2.1 beta,192.0.2.2
cp -a /root/pki/alpha /etc/colofs
scp -rpq /root/pki/beta root@192.0.2.2:/etc/colofs
ssh root@192.0.2.2 'mkdir -p /var/lib/colofs/vm1 /srv/vm1 && mount -t fuse.colofs /var/lib/colofs/vm1 /srv/vm1 \
	-o role=backup,listen=192.0.2.2:7420,tls=/etc/colofs,peer-name=alpha'
mkdir -p /var/lib/colofs/vm1 /srv/vm1
mount -t fuse.colofs /var/lib/colofs/vm1 /srv/vm1 -o role=primary,peer=192.0.2.2:7420,tls=/etc/colofs,peer-name=beta
colofsctl status --watch /srv/vm1
