#include "coordinator/join/routes.h"

#include <doctest/doctest.h>

#include "coordinator/join/testing_blob.h"

using namespace roamstead;
using namespace roamstead::join;
using join::testing::equal;
using join::testing::sample_blob;
using support::must;

TEST_CASE("the answer file gives Setup the name and the blob") {
  const auto file = must(unattend_join_file(sample_blob(), "AMD64", false));
  CHECK(file.path == "Windows/Panther/unattend.xml");
  CHECK(file.secret);
  const auto text = std::string(as_text(file.content));
  CHECK(text.find("processorArchitecture=\"amd64\"") != std::string::npos);
  CHECK(text.find("<ComputerName>VDI-0001</ComputerName>") != std::string::npos);
  const std::string open = "<AccountData>", close = "</AccountData>";
  const auto begin = text.find(open) + open.size();
  const auto data = text.substr(begin, text.find(close) - begin);
  CHECK(equal(must(parse_odj_text(as_bytes(data))), sample_blob()));
}

TEST_CASE("an image's own answer file, or an unknown architecture, is refused by name") {
  const auto exists = unattend_join_file(sample_blob(), "AMD64", true);
  CHECK(exists.error().code == ErrorCode::exists);
  CHECK(exists.error().to_string().find("unattend.xml") != std::string::npos);
  CHECK(unattend_join_file(sample_blob(), "PowerPC", false).error().code == ErrorCode::unsupported);
}

TEST_CASE("the first start takes the blob once") {
  const auto file = must(runonce_blob_file(sample_blob(), "ProgramData/Roamstead/firstboot/"));
  CHECK(file.path == "ProgramData/Roamstead/firstboot/domain-join.txt");
  CHECK(file.secret);
  CHECK(equal(must(parse_odj_text(file.content)), sample_blob()));
  const auto script = runonce_join_script();
  const auto taken = script.find("djoin.exe\" /requestodj /loadfile");
  CHECK(taken != std::string::npos);
  CHECK(script.find("del /f /q") > taken);
  CHECK(script.find("exit /b 3010") > script.find("del /f /q"));
}
