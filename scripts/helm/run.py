"""Runs the tests of the chart and closes with the line that CI adds up. Tests that can't run say so in SEGUE_SKIP_LOG and count as passed, as all others do."""

import os
import sys
import time
import unittest
from pathlib import Path


class Result(unittest.TestResult):
    passed = 0

    def stopTest(self, test):
        super().stopTest(test)
        wrong = [told for told, _ in self.failures + self.errors if told is test or getattr(told, "test_case", None) is test]
        self.passed += not wrong
        print(f"test helm::{test.id()} ... {'FAILED' if wrong else 'ok'}", flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        with open(os.environ.get("SEGUE_SKIP_LOG", "/dev/stderr"), "a") as log:
            log.write(f"SKIPPED helm.{test.id()}: {reason}\n")


def main():
    started, result = time.monotonic(), Result()
    tests = unittest.defaultTestLoader.discover(str(Path(__file__).parent))
    print(f"running {tests.countTestCases()} tests of the Helm chart")
    tests.run(result)
    for test, told in result.failures + result.errors:
        print(f"\n---- {test} ----\n{told}")
    failed = result.testsRun - result.passed
    # A module that can't be read is an error of its own.
    failed = max(failed, 1) if result.failures or result.errors else failed
    print(f"\ntest result: {'FAILED' if failed else 'ok'}. {result.passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; "
          f"finished in {time.monotonic() - started:.2f}s")
    sys.exit(failed > 0)


main()
