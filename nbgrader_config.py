"""nbgrader on these exercises: `nbgrader generate_assignment 02_lora_math`, and so on, in this folder.

An assignment is a folder of solutions/, and what learners get is released/. nbgrader runs what learners send as the
user who grades, without a sandbox; course/instructors.md says what follows from that.
"""

c = get_config()  # noqa: F821 (nbgrader's)

c.CourseDirectory.course_id = "helptune"
c.CourseDirectory.source_directory = "solutions"
c.CourseDirectory.release_directory = "released"
c.CourseDirectory.submitted_directory = "submitted"
c.CourseDirectory.autograded_directory = "autograded"
c.CourseDirectory.feedback_directory = "feedback"
# Beside each notebook stands its source with the answers in it, and the answers that must be found wrong.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "*.py"]
c.ExecutePreprocessor.timeout = 300
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
