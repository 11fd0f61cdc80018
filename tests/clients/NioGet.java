import java.io.ByteArrayOutputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;

/**
 * Fetches a path from every address and port, all at once, with non-blocking channels and one selector.
 *
 * <p>{@code java NioGet.java PATH (ADDRESS PORT)…} prints a line for each: peer's address, status, length of
 * the body, its SHA-256.
 */
public class NioGet {
    static final int AT_ONCE = 4;

    static class Fetch {
        final ByteBuffer request;
        final ByteArrayOutputStream answer = new ByteArrayOutputStream();
        String peer;

        Fetch(String path) {
            String text = "GET " + path + " HTTP/1.1\r\nHost: pay\r\nConnection: close\r\n\r\n";
            request = ByteBuffer.wrap(text.getBytes(StandardCharsets.US_ASCII));
        }
    }

    public static void main(String[] args) throws Exception {
        Selector selector = Selector.open();
        int open = 0;
        for (int round = 0; round < AT_ONCE; round++) {
            for (int i = 1; i + 1 < args.length; i += 2) {
                SocketChannel channel = SocketChannel.open();
                channel.configureBlocking(false);
                channel.connect(new InetSocketAddress(args[i], Integer.parseInt(args[i + 1])));
                channel.register(selector, SelectionKey.OP_CONNECT, new Fetch(args[0]));
                open++;
            }
        }
        while (open > 0) {
            selector.select();
            var keys = selector.selectedKeys().iterator();
            while (keys.hasNext()) {
                SelectionKey key = keys.next();
                keys.remove();
                if (step(key)) {
                    open--;
                }
            }
        }
    }

    /** Goes on with one fetch; says whether it is done. */
    static boolean step(SelectionKey key) throws Exception {
        SocketChannel channel = (SocketChannel) key.channel();
        Fetch fetch = (Fetch) key.attachment();
        if (key.isConnectable()) {
            channel.finishConnect();
            fetch.peer = ((InetSocketAddress) channel.getRemoteAddress()).getAddress().getHostAddress();
            key.interestOps(SelectionKey.OP_WRITE);
        } else if (key.isWritable()) {
            channel.write(fetch.request);
            if (!fetch.request.hasRemaining()) {
                key.interestOps(SelectionKey.OP_READ);
            }
        } else if (key.isReadable()) {
            ByteBuffer part = ByteBuffer.allocate(64 << 10);
            if (channel.read(part) < 0) {
                channel.close();
                print(fetch);
                return true;
            }
            fetch.answer.write(part.array(), 0, part.position());
        }
        return false;
    }

    static void print(Fetch fetch) throws Exception {
        byte[] answer = fetch.answer.toByteArray();
        String text = new String(answer, StandardCharsets.ISO_8859_1);
        int body = text.indexOf("\r\n\r\n") + 4;
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        digest.update(answer, body, answer.length - body);
        String sum = HexFormat.of().formatHex(digest.digest());
        System.out.println(fetch.peer + " " + text.split(" ")[1] + " " + (answer.length - body) + " " + sum);
    }
}
