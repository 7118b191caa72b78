import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.logging.ErrorManager;
import java.util.logging.FileHandler;
import java.util.logging.Formatter;
import java.util.logging.Level;
import java.util.logging.LogRecord;

/**
 * Logs through a library of the JVM, and keeps the journal that journal.py describes.
 *
 * usage: JavaLogging.java log4j2|logback|util
 *
 * log4j2.xml, logback.xml or LOG_DIR say where to.
 */
public final class JavaLogging {
    private static final Path JOURNAL = Path.of(System.getenv("JOURNAL"));
    private static final Path STOP = Path.of(System.getenv("STOP"));
    private static final Path BACK = Path.of(System.getenv("BACK"));

    /** One library. */
    private interface Library extends AutoCloseable {
        void write(String line) throws Exception;

        /** What an application server would do by a restart. */
        void reopen() throws Exception;
    }

    private static final class Log4j2 implements Library {
        private final org.apache.logging.log4j.Logger logger =
            org.apache.logging.log4j.LogManager.getLogger("app");

        @Override
        public void write(String line) {
            logger.info(line);
        }

        @Override
        public void reopen() {
            org.apache.logging.log4j.core.config.Configurator.reconfigure();
        }

        @Override
        public void close() {
            org.apache.logging.log4j.LogManager.shutdown();
        }
    }

    private static final class Logback implements Library {
        private final org.slf4j.Logger logger = org.slf4j.LoggerFactory.getLogger("app");

        @Override
        public void write(String line) {
            logger.info(line);
        }

        @Override
        public void reopen() {
            throw new UnsupportedOperationException("Logback reopens by itself, and loses lines meanwhile");
        }

        @Override
        public void close() {
            ((ch.qos.logback.classic.LoggerContext) org.slf4j.LoggerFactory.getILoggerFactory()).stop();
        }
    }

    /** java.util.logging: a count of 3 makes app.log.0, app.log.1 and app.log.2 of app.log. */
    private static final class Util implements Library {
        private FileHandler handler;
        private Exception failure;

        private Util() throws IOException {
            reopen();
        }

        @Override
        public void write(String line) throws Exception {
            failure = null;
            handler.publish(new LogRecord(Level.INFO, line));
            if (failure != null) {
                throw failure;
            }
        }

        @Override
        public void reopen() throws IOException {
            close();
            handler = new FileHandler(System.getenv("LOG_DIR") + "/app.log", 20_000, 3, true);
            handler.setFormatter(new Formatter() {
                @Override
                public String format(LogRecord record) {
                    return record.getMessage() + "\n";
                }
            });
            handler.setErrorManager(new ErrorManager() {
                @Override
                public void error(String message, Exception exception, int code) {
                    failure = exception;
                }
            });
        }

        @Override
        public void close() {
            if (handler != null) {
                handler.close();
            }
        }
    }

    public static void main(String[] args) throws Exception {
        try (Library library = library(args[0])) {
            for (int number = 1; !Files.exists(STOP); number++) {
                if (number > 2000) {
                    // As in journal.py: no flood while the scenario goes on.
                    Thread.sleep(1);
                }
                String line = String.format("%s line %07d %s", System.getenv("RUN"), number, "x".repeat(60));
                note("try", line);
                try {
                    library.write(line);
                } catch (Exception failed) {
                    note("err", line);
                    awaitMount();
                    library.reopen();
                    continue;
                }
                note("ok", line);
            }
        }
    }

    private static Library library(String name) throws IOException {
        return switch (name) {
            case "log4j2" -> new Log4j2();
            case "logback" -> new Logback();
            case "util" -> new Util();
            default -> throw new IllegalArgumentException(name);
        };
    }

    private static void note(String word, String line) throws IOException {
        Files.writeString(JOURNAL, word + " " + line + "\n",
            StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    private static void awaitMount() throws InterruptedException {
        for (int waited = 0; !Files.exists(BACK); waited++) {
            if (waited > 6000) {
                throw new IllegalStateException("a write failed, and the mount did not come back");
            }
            Thread.sleep(10);
        }
    }
}
