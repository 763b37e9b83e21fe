// VMware's .vmx: lines of `key = "value"`, keys without regard to case, each at most once; '#' begins a
// comment line. In values a quote is "|22" and a bar "|7C" (what VMware's own programs write).
#pragma once

#include <optional>

#include "coordinator/hypervisor/vm.h"

namespace roamstead::hypervisor {

class Vmx {
 public:
  // Lines that it does not understand as above are an error that names source and line: so does VMware.
  static Result<Vmx> parse(const std::string& text, const std::string& source);
  // Lines that were not changed are as they were.
  std::string text() const;

  std::optional<std::string> find(std::string_view key) const;
  void set(const std::string& key, const std::string& value);
  // All whose key begins so.
  void remove(std::string_view prefix);
  // In the order of the file, in small letters.
  std::vector<std::string> keys() const;

 private:
  struct Line {
    std::string key;  // in small letters; "" of comments and empty lines
    std::string value;
    std::string text;
  };
  std::vector<Line> lines_;
};

// The template with the machine's name, uuid, address and disks: hard disks of the template are taken out,
// and the first one's place is where ours begin. Removes what two machines cannot share.
Result<std::string> vmx_text(const std::string& template_text, const std::string& source, const Vm& vm);

}  // namespace roamstead::hypervisor
