import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.apache.logging.log4j.core.config.Configurator;

/**
 * Logs through log4j2 as log4j2.xml says, and keeps the journal that journal.py describes.
 */
public final class Log4jProgram {
    private static final Path JOURNAL = Path.of(System.getenv("JOURNAL"));
    private static final Path STOP = Path.of(System.getenv("STOP"));
    private static final Path BACK = Path.of(System.getenv("BACK"));

    public static void main(String[] args) throws Exception {
        Logger logger = LogManager.getLogger("app");
        for (int number = 1; !Files.exists(STOP); number++) {
            if (number > 2000) {
                // As in journal.py: no flood while the scenario goes on.
                Thread.sleep(1);
            }
            String line = String.format("%s line %07d %s", System.getenv("RUN"), number, "x".repeat(60));
            note("try", line);
            try {
                logger.info(line);
            } catch (RuntimeException failure) {
                note("err", line);
                awaitMount();
                Configurator.reconfigure();
                continue;
            }
            note("ok", line);
        }
        LogManager.shutdown();
    }

    private static void note(String word, String line) throws IOException {
        Files.writeString(JOURNAL, word + " " + line + "\n",
            StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /** An application server would be restarted; this one reads its configuration again. */
    private static void awaitMount() throws InterruptedException {
        for (int waited = 0; !Files.exists(BACK); waited++) {
            if (waited > 6000) {
                throw new IllegalStateException("a write failed, and the mount did not come back");
            }
            Thread.sleep(10);
        }
    }
}
