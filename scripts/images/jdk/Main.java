import java.util.stream.Collectors;
import java.util.stream.IntStream;

public class Main {
  public static void main(String[] arguments) {
    System.out.println("ready " + IntStream.range(0, 1000).boxed().collect(Collectors.toMap(i -> i, i -> "v" + i)).size());
  }
}
