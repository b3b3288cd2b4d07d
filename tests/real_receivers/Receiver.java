import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.TrustManagerFactory;

/** A receiver over TLS with client certificates: what it reads it appends to a file. */
class Receiver {
    public static void main(String[] args) throws Exception {
        var certificates = CertificateFactory.getInstance("X.509");
        var trusted = emptyStore();
        try (var ca = new FileInputStream(args[3])) {
            trusted.setCertificateEntry("ca", certificates.generateCertificate(ca));
        }
        var own = emptyStore();
        var text = Files.readString(Path.of(args[5])).replaceAll("-----[^-]*-----|\\s", "");
        var key = new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text));
        try (var cert = new FileInputStream(args[4])) {
            var chain = new Certificate[] {certificates.generateCertificate(cert)};
            own.setKeyEntry("own", KeyFactory.getInstance("EC").generatePrivate(key), new char[0], chain);
        }
        var keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, new char[0]);
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        var port = Integer.parseInt(args[0]);
        var loopback = InetAddress.getLoopbackAddress();
        try (var server = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(port, 50, loopback);
                var received = new FileOutputStream(args[2], true)) {
            server.setNeedClientAuth(true);
            server.setEnabledProtocols(new String[] {"TLSv" + args[1]});
            while (true) {
                var socket = server.accept();
                new Thread(() -> take(socket, received)).start();
            }
        }
    }

    static KeyStore emptyStore() throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        return store;
    }

    static void take(Socket socket, FileOutputStream received) {
        try (socket) {
            var buffer = new byte[65536];
            var in = socket.getInputStream();
            for (int count; (count = in.read(buffer)) >= 0; ) {
                received.write(buffer, 0, count);
            }
        } catch (IOException error) {
            System.err.println(error.getMessage());
        }
    }
}
