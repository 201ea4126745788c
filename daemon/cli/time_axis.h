// TimeAxis: where on a picture a moment goes. Linear, but long pauses in which nothing happens are
// cut to a narrow strip: an image may be prepared hours before a container of it starts, and a
// program that has started may touch something a minute later. Immutable; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dedup {

class TimeAxis {
 public:
  static constexpr double kWidth = 1000;

  enum class Unit : uint8_t { kMicroseconds, kPositions };
  struct Tick {
    double x = 0;
    std::string label;
  };
  struct Pause {  // cut
    double x = 0;
    double width = 0;
    uint64_t length_us = 0;
  };

  // events: when something happens, in any order. The axis goes from 0 past the last of them.
  explicit TimeAxis(std::vector<uint64_t> events, Unit unit = Unit::kMicroseconds);

  double x(uint64_t us) const;  // 0 to kWidth, later moments at the right edge
  uint64_t end_us() const { return x_pieces.back().end_us; }
  std::vector<Tick> ticks() const;  // not nearer than 60 to one another
  std::vector<Pause> pauses() const;

 private:
  struct Piece {
    uint64_t begin_us = 0;
    uint64_t end_us = 0;
    double x = 0;
    double width = 0;
    bool pause = false;
  };
  void lay_out();
  std::string label(uint64_t us, uint64_t step_us) const;

  Unit x_unit;
  std::vector<Piece> x_pieces;  // one after the other, never empty
};

// "350 ms", "1.25 s", "3 h 20 min"
std::string time_text(uint64_t us);

}  // namespace dedup
