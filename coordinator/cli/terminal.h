// A terminal that is drawn on and left as it was found (ECMA-48 escape codes, termios).
#pragma once

#include <termios.h>

#include <chrono>
#include <cstddef>
#include <string>

namespace roamstead::cli {

struct TerminalSize {
  std::size_t rows = 24;
  std::size_t columns = 80;
};
TerminalSize terminal_size();

// Standard output is a terminal that understands escape codes.
bool draws_on_terminal();
// NO_COLOR is not set (https://no-color.org).
bool wants_color();

// The terminal's other screen, from its making to its end, whatever ends it: a key, a signal, an error. One
// at a time.
class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void draw(const std::string& lines);
  enum class Wish { none, redraw, end };
  // Waits; ends early for a key ('q', ^C), a signal that ends the program, or a new size.
  Wish wait(std::chrono::milliseconds time);

 private:
  termios before_{};
  bool has_keys_ = false;
};

}  // namespace roamstead::cli
