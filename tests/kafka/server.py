"""A real Apache Kafka on this machine, for tests: one node (KRaft), no imitation.

``fetch`` brings the jars, ``KafkaServer`` runs them in one Java process of its own::

    with KafkaServer(fetch(cache), folder) as kafka:
        kafka.create_topics("g1.superevent")
        kafka.kill()
        kafka.restart()

Ports, users, certificates, ACLs and records outlive `stop` and `kill`.  One thread at a time.
"""

import base64
import datetime as dt
import fcntl
import ipaddress
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from pathlib import Path

import confluent_kafka as ck
from confluent_kafka import admin
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.waiting import wait_until

VERSION = "4.1.0"
NODE = 1

PROPERTIES = """\
# One process is the broker and the controller.
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,\
    EXPIRED:SASL_SSL,ELSEWHERE:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
log.dirs={folder}/data

# Loopback only.  127.0.0.1 and not localhost: localhost is ::1 first on some machines.
listeners=CONTROLLER://127.0.0.1:{controller},{listeners}
advertised.listeners={listeners}

# The users of SCRAM are in the data, from the formatting; the users of PLAIN are here.
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={security}.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config={security}.plain.PlainLoginModule required \\
    user_antares="{antares}";
# The validator for tests: it takes any token that is not too old, signed by nobody.
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={security}.oauthbearer.OAuthBearerLoginModule \
    required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem

# What is wrong with each of these is told by a client before it comes to the password.
listener.name.expired.ssl.keystore.location={folder}/expired.pem
listener.name.elsewhere.ssl.keystore.location={folder}/elsewhere.pem
{others}

# PLAINTEXT (ANONYMOUS) may do everything; the others may too, until an ACL names the resource.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
allow.everyone.if.no.acl.found=true

# One node is enough for the internal topics, and few partitions load faster.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
auto.create.topics.enable=false

# Seconds, where a real cluster has minutes: a killed broker is missed soon, groups start at
# once, consumers may ask for short sessions, and retention is looked after every second.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=500

# The default of 128 MB is a quarter of our heap.
log.cleaner.dedupe.buffer.size=10485760
"""

SECURITY = "org.apache.kafka.common.security"
LISTENERS = ("PLAINTEXT", "SASL_SSL", "EXPIRED", "ELSEWHERE", "SASL_PLAINTEXT")
ONLY_PLAIN = """\
listener.name.{name}.sasl.enabled.mechanisms=PLAIN
listener.name.{name}.plain.sasl.jaas.config={security}.plain.PlainLoginModule required \\
    user_antares="{antares}";
"""


class KafkaUnavailable(Exception):
    """No real Kafka can run here; the text says what is missing."""


class KafkaDidNotStart(Exception):
    """The Java process ended, or does not answer; the text ends with its log."""


def fetch(cache):
    """The folder of Kafka's jars inside the folder `cache`; downloads them the first time.

    Any number of processes may ask at once: one downloads, and a folder is complete or absent.
    Raises KafkaUnavailable without Java 17+; the first time also without Maven or its network.
    """
    _check_java()
    jars = Path(cache) / f"kafka-{VERSION}"
    jars.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{jars}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # also because Maven's own repository knows no locks
        if not jars.is_dir():
            with tempfile.TemporaryDirectory(prefix=f"{jars.name}-", dir=cache) as folder:
                _download(folder)
                os.rename(f"{folder}/jars", jars)
    return jars


def _check_java():
    if not shutil.which("java"):
        raise KafkaUnavailable('Java 17 or newer is needed; there is no "java" on the PATH')
    run = subprocess.run(["java", "-version"], capture_output=True, text=True)
    found = re.search(r'version "(\d+)', run.stderr)
    if not found or int(found[1]) < 17:
        raise KafkaUnavailable(f"Java 17 or newer is needed; java -version says: {run.stderr}")


def _download(folder, seconds=240):
    if not shutil.which("mvn"):
        raise KafkaUnavailable('Maven downloads Kafka; there is no "mvn" on the PATH')
    pom = Path(__file__).with_name("pom.xml")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}/jars"]
    command = ["mvn", "-B", "-q", "--strict-checksums", "-f", str(pom), *goal]
    try:
        # In `folder`: where the user has no home, Maven makes its repository in "./?".
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise KafkaUnavailable(f"Maven did not download Kafka in {seconds} s") from error
    if run.returncode:
        raise KafkaUnavailable(f"Maven could not download Kafka: {run.stdout[-2000:].strip()}")


def _free_ports(count):
    """Free ports below those that the system gives to outgoing connections, and their claims.

    A client that tries to reconnect to a stopped broker could get a port among those that is the
    broker's own: it would then talk to itself, and the broker could not come back.  Another
    server could get one too while ours is down; so a port is claimed, by a lock on a file, for as
    long as the claim is open.
    """
    folder = Path(tempfile.gettempdir(), "igwn-style-client-ports")
    folder.mkdir(exist_ok=True)
    ports, claims = [], []
    for port in random.sample(range(20_000, 30_000), 500):
        claim = open(folder / str(port), "w")  # noqa: SIM115  # as long as the server
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        ports.append(port)
        claims.append(claim)
        if len(ports) == count:
            return ports, claims
    raise KafkaUnavailable("there are no free ports between 20000 and 30000")


def write_certificates(folder):
    """Write ca.pem, and keys with certificates that it signed.

    server.pem is for localhost and 127.0.0.1; expired.pem was; elsewhere.pem is for another host.
    """
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    there = [x509.DNSName("kafka.example.org")]
    ca = _certificate("throw-away CA", ca_key, ca_key, x509.BasicConstraints(True, 0))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "ca.pem").write_bytes(ca)
    for file, names, age in (("server", here, 0), ("expired", here, 9), ("elsewhere", there, 0)):
        extension = x509.SubjectAlternativeName(names)
        certificate = _certificate(str(names[0].value), key, ca_key, extension, age)
        (folder / f"{file}.pem").write_bytes(private + certificate + ca)


def _certificate(name, key, ca_key, extension, age=0):
    """Sign a certificate that is valid from a day before to two days after `age` days ago."""
    now = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=age)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(f"CN={name}"))
        .issuer_name(x509.Name.from_rfc4514_string("CN=throw-away CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(extension, critical=key is ca_key)
    )
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class KafkaProcess:
    """The Java process that runs Kafka in a folder; it may start and end any number of times."""

    # The flags shorten a start from 2.9 to 2.3 s: no test lives long enough for more compiling.
    JAVA = ("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

    def __init__(self, jars, folder):
        self.folder = Path(folder)
        self.log = self.folder / "kafka.log"
        self._java = [*self.JAVA, "-Dlog4j2.level=INFO", "-cp", f"{jars}/*"]
        self._process = None

    @property
    def pid(self):
        """The process id; None while no process runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running else None

    def _spawn(self, *arguments):
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [*self._java, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for pytest, not for Kafka
            )

    def _run(self):
        self._process = self._spawn("kafka.Kafka", f"{self.folder}/server.properties")
        # When this object goes, and at the end of Python at the latest.
        weakref.finalize(self, _end, self._process, signal.SIGKILL)

    def _format(self, cluster, passwords):
        """Prepare the data folder with the SCRAM users {name: password}."""
        options = ["-t", cluster, "-c", f"{self.folder}/server.properties"]
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            for name, password in passwords.items():
                options += ["-S", f"{mechanism}=[name={name},password={password}]"]
        if self._spawn("kafka.tools.StorageTool", "format", *options).wait(60):
            raise KafkaDidNotStart(f"formatting failed; {self.tail()}")

    def stop(self):
        """End in good order (SIGTERM), and wait for the end."""
        if self.pid:
            self.thaw()
            _end(self._process, signal.SIGTERM)

    def kill(self):
        """End at once (SIGKILL), and wait for the end."""
        if self.pid:
            _end(self._process, signal.SIGKILL)

    def freeze(self):
        """Halt the process (SIGSTOP): connections stay open, and nothing answers."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self):
        """Let a frozen process go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def tail(self, lines=40):
        """The last lines of the log that are more than information."""
        log = self.log.read_text(errors="replace").splitlines()
        loud = [line for line in log if not re.search(r" INFO |^\t[\w.]+ = |^\t?$", line)]
        return "\n".join([f"{self.log} ends with:", *loud[-lines:]])


def _end(process, sign):
    if process.poll() is not None:
        return
    os.killpg(process.pid, sign)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


class KafkaServer(KafkaProcess):
    """Kafka on loopback: without a login on `url`, with TLS and a login on `sasl_url`.

    Parameters
    ----------
    jars
        The folder that `fetch` returns.
    folder
        An existing empty folder for all files: data, log, certificates, properties.

    Attributes
    ----------
    url, bootstrap
        The listener PLAINTEXT, where everyone may do everything, as URL and as "host:port".
    sasl_url, sasl_bootstrap
        The listener SASL_SSL: SCRAM-SHA-512, SCRAM-SHA-256, PLAIN and OAUTHBEARER (any unsigned
        token of a user, see `token`), and ACLs count.
    expired_url, elsewhere_url
        Like SASL_SSL with PLAIN, but their certificates expired, and are for another host.
    sasl_plain_url
        With a login by PLAIN, and without TLS.
    ca
        The file with the certificate of the authority that signed the server's.
    users
        Passwords by name.  "astronomer" and "admin" log in with SCRAM, "antares" with PLAIN;
        "admin" may do everything.
    """

    #: What a client of it must set: nothing.  The embedded broker needs something here.
    options: dict = {}  # noqa: RUF012

    def __init__(self, jars, folder):
        super().__init__(jars, folder)
        (controller, *ports), claims = _free_ports(1 + len(LISTENERS))
        # Let go of with this object, and not with a broker that may be restarted.
        weakref.finalize(self, lambda: [claim.close() for claim in claims])
        at = {name: f"127.0.0.1:{port}" for name, port in zip(LISTENERS, ports, strict=True)}
        self.bootstrap = at["PLAINTEXT"]
        self.sasl_bootstrap = at["SASL_SSL"]
        self.url = f"kafka://{self.bootstrap}/"
        self.sasl_url = f"kafka://{self.sasl_bootstrap}/"
        self.expired_url = f"kafka://{at['EXPIRED']}/"
        self.elsewhere_url = f"kafka://{at['ELSEWHERE']}/"
        self.sasl_plain_url = f"kafka://{at['SASL_PLAINTEXT']}/"
        self.users = {name: secrets.token_hex(16) for name in ("astronomer", "admin", "antares")}
        self.ca = self.folder / "ca.pem"
        write_certificates(self.folder)
        properties = PROPERTIES.format(
            folder=self.folder,
            node=NODE,
            controller=controller,
            listeners=",".join(f"{name}://{address}" for name, address in at.items()),
            antares=self.users["antares"],
            security=SECURITY,
            others="\n".join(
                ONLY_PLAIN.format(name=name, antares=self.users["antares"], security=SECURITY)
                for name in ("expired", "elsewhere", "sasl_plaintext")
            ),
        )
        (self.folder / "server.properties").write_text(properties)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def login(self, user, mechanism=None, password=None):
        """The librdkafka settings with which `user` connects to the listener SASL_SSL."""
        return {
            "bootstrap.servers": self.sasl_bootstrap,
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.ca),
            "sasl.mechanisms": mechanism or ("PLAIN" if user == "antares" else "SCRAM-SHA-512"),
            "sasl.username": user,
            "sasl.password": password or self.users[user],
        }

    @staticmethod
    def token(user, seconds=600):
        """A bearer token for `user` that the listener SASL_SSL takes: an unsecured JWS."""
        now = time.time()
        claims = {"sub": user, "iat": now, "exp": now + seconds}
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
        header, body = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        return f"{header}.{body}."

    def start(self, seconds=60):
        """Start, and wait until the broker takes part and every partition has its leader.

        Raises KafkaDidNotStart with the end of the log; no process is left then.
        """
        if self.pid:
            raise RuntimeError(f"Kafka runs already, as process {self.pid}; call restart()")
        if not (self.folder / "data").exists():
            cluster = secrets.token_hex(10) + "AA"  # Kafka wants base64 of 16 bytes
            self._format(cluster, {name: self.users[name] for name in ("astronomer", "admin")})
        self._run()
        try:
            wait_until(self._is_ready, seconds, "a broker that answers")
        except TimeoutError as error:
            self.kill()
            raise KafkaDidNotStart(f"{error}; {self.tail()}") from error

    def restart(self):
        """Stop if it runs, and start with the same ports, users and records."""
        self.stop()
        self.start()

    def _is_ready(self):
        if not self.pid:
            code = self._process.returncode
            raise KafkaDidNotStart(f"Kafka ended with status {code}; {self.tail()}")
        try:
            metadata = self._admin().list_topics(timeout=1)
        except ck.KafkaException:
            return False
        # A broker is in its own list from when the controller has unfenced it.
        partitions = [p for topic in metadata.topics.values() for p in topic.partitions.values()]
        return NODE in metadata.brokers and all(p.leader == NODE for p in partitions)

    def _admin(self):
        # A new one each time: an old one waits ever longer before it connects again.
        return admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def _ask(self, request, *arguments, **options):
        """The answer to each part of an admin request; raises the first error."""
        client = self._admin()  # a name, for futures fail when their client is gone
        answer = getattr(client, request)(*arguments, **options)
        if not isinstance(answer, dict):
            return answer.result(30)
        return {part: future.result(30) for part, future in answer.items()}

    def _partitions(self, topic):
        """The numbers of the partitions that have a leader; empty for an unknown topic."""
        found = self._admin().list_topics(timeout=10).topics.get(topic)
        return [p.id for p in found.partitions.values() if p.leader == NODE] if found else []

    def _wait_for(self, topic, partitions):
        what = f"{partitions} partitions of {topic}"
        wait_until(lambda: len(self._partitions(topic)) == partitions, what=what)

    def create_topics(self, *names, partitions=1, config=None):
        """Create topics with `config`, a dict of topic settings, and wait until they are ready."""
        new = [admin.NewTopic(name, partitions, 1, config=config or {}) for name in names]
        self._ask("create_topics", new)
        for name in names:
            self._wait_for(name, partitions)

    def delete_topics(self, *names):
        """Delete topics, and wait until the broker does not know them."""
        self._ask("delete_topics", list(names))
        for name in names:
            self._wait_for(name, 0)

    def add_partitions(self, name, total):
        """Give a topic more partitions, `total` in all."""
        self._ask("create_partitions", [admin.NewPartitions(name, total)])
        self._wait_for(name, total)

    def acl(self, user, operation, *, topic=None, group=None, allow=True):
        """Allow `user` an operation ("read", "write", "describe", "all", ...), or deny it.

        From its first ACL on, a topic or group is closed to everyone whom no ACL allows; so is
        the cluster, which is the resource where neither is named.
        """
        rule = (
            *_resource(topic, group),
            f"User:{user}",
            "*",
            admin.AclOperation[operation.upper()],
            admin.AclPermissionType.ALLOW if allow else admin.AclPermissionType.DENY,
        )
        self._ask("create_acls", [admin.AclBinding(*rule)])
        made = admin.AclBindingFilter(*rule)
        wait_until(lambda: self._ask("describe_acls", made), what=f"the ACL {made}")

    def remove_acls(self, *, topic=None, group=None):
        """Remove every ACL of a topic or a group: it is open again."""
        anything = admin.AclOperation.ANY, admin.AclPermissionType.ANY
        every = admin.AclBindingFilter(*_resource(topic, group), None, None, *anything)
        self._ask("delete_acls", [every])
        wait_until(lambda: not self._ask("describe_acls", every), what=f"the end of {every}")

    def produce(self, topic, *values, **details):
        """Send records, with the `details` of Producer.produce, and wait for every answer."""
        failed = []
        producer = ck.Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for value in values:
            producer.produce(
                topic, value, on_delivery=lambda e, _: e and failed.append(e), **details
            )
        left = producer.flush(30)
        if failed or left:
            raise RuntimeError(f"{topic}: {left} records without an answer, {failed} failed")

    def records(self, topic, seconds=30):
        """Every record from the beginning to the present end, by partition and offset."""
        consumer = ck.Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "records",  # librdkafka demands one; nothing is committed
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        records, unread = [], set(self._partitions(topic))

        def read():
            for message in consumer.consume(1000, timeout=0.2):
                if not message.error():
                    records.append(message)
                elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                else:
                    raise ck.KafkaException(message.error())
            return not unread

        try:
            consumer.assign([ck.TopicPartition(topic, p, ck.OFFSET_BEGINNING) for p in unread])
            wait_until(read, seconds, f"the end of {topic}")
        finally:
            consumer.close()
        return sorted(records, key=lambda message: (message.partition(), message.offset()))

    def end_offsets(self, topic):
        """The offset of the next record, by partition."""
        return self._offsets(topic, admin.OffsetSpec.latest())

    def begin_offsets(self, topic):
        """The offset of the oldest record that is left (the low watermark), by partition."""
        return self._offsets(topic, admin.OffsetSpec.earliest())

    def _offsets(self, topic, spec):
        parts = {ck.TopicPartition(topic, p): spec for p in self._partitions(topic)}
        found = self._ask("list_offsets", parts) if parts else {}
        return {part.partition: answer.offset for part, answer in found.items()}

    def committed(self, group, topic):
        """The committed offset by partition, without the partitions that have none."""
        request = [ck.ConsumerGroupTopicPartitions(group)]
        parts = self._ask("list_consumer_group_offsets", request)[group].topic_partitions
        return {p.partition: p.offset for p in parts if p.topic == topic and p.offset >= 0}

    def delete_records(self, topic, before):
        """Delete the records before an offset, {partition: offset}, as retention does."""
        parts = [ck.TopicPartition(topic, p, offset) for p, offset in before.items()]
        self._ask("delete_records", parts)


def _resource(topic, group):
    if topic is not None and group is not None:
        raise TypeError("name one resource: topic=... or group=...")
    kind, name = admin.ResourceType.BROKER, "kafka-cluster"
    if topic is not None:
        kind, name = admin.ResourceType.TOPIC, topic
    elif group is not None:
        kind, name = admin.ResourceType.GROUP, group
    return kind, name, admin.ResourcePatternType.LITERAL
