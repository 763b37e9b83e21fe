#include "coordinator/cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace roamstead::cli {
namespace {

volatile std::sig_atomic_t ending = 0;
volatile std::sig_atomic_t resized = 0;

void note_signal(int number) {
  if (number == SIGWINCH)
    resized = 1;
  else
    ending = 1;
}

void put_text(std::string_view text) {
  while (!text.empty()) {
    const auto count = ::write(STDOUT_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace

TerminalSize terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {size.ws_row, size.ws_col};
}

bool draws_on_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) != 0 && kind != nullptr && *kind != '\0' && std::strcmp(kind, "dumb") != 0;
}

bool wants_color() {
  const char* unwanted = std::getenv("NO_COLOR");
  return unwanted == nullptr || *unwanted == '\0';
}

Screen::Screen() {
  ending = 0;
  resized = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;  // no SA_RESTART: waits end
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaction(number, &action, nullptr);
  has_keys_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
  if (has_keys_) {
    auto quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
  }
  put_text("\033[?1049h\033[?25l");
}

Screen::~Screen() {
  put_text("\033[?25h\033[?1049l");
  if (has_keys_) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void Screen::draw(const std::string& lines) {
  // Line by line over what was there, which flickers less than an empty screen in between.
  std::string text = "\033[H";
  for (std::size_t at = 0; at < lines.size();) {
    const auto end = lines.find('\n', at);
    text += lines.substr(at, end - at) + "\033[K";
    at = end + 1;
    if (at < lines.size()) text += "\n";
  }
  put_text(text + "\033[J");
}

Screen::Wish Screen::wait(std::chrono::milliseconds time) {
  if (ending != 0) return Wish::end;
  pollfd keys{STDIN_FILENO, POLLIN, 0};
  const int ready = ::poll(&keys, has_keys_ ? 1 : 0, static_cast<int>(time.count()));
  if (ending != 0) return Wish::end;
  if (resized != 0) {
    resized = 0;
    return Wish::redraw;
  }
  if (ready <= 0) return Wish::none;
  char key = 0;
  if (::read(STDIN_FILENO, &key, 1) <= 0) has_keys_ = false;
  return key == 'q' || key == 'Q' ? Wish::end : Wish::redraw;
}

}  // namespace roamstead::cli
